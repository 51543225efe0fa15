import { describe, expect, test } from '@jest/globals';
import { parseFlags } from '../../runtime/flags.ts';

describe('parseFlags', () => {
  test('takes both forms of a flag, and the last of two', () => {
    expect(parseFlags(['--model_name=a', '--model_name', 'b', '--http_port', '0'])).toMatchObject({
      model_name: 'b',
      http_port: 0,
    });
  });

  test('keeps what follows the first equals sign', () => {
    expect(parseFlags(['--model_dir=/models/a=b'])).toMatchObject({ model_dir: '/models/a=b' });
  });

  test('has the defaults that the README names', () => {
    expect(parseFlags([])).toEqual({
      model_name: 'model',
      model_dir: '/mnt/models',
      host: '127.0.0.1',
      http_port: 8080,
      max_body_bytes: 104857600,
      max_queue: 256,
      max_models: 64,
      threads: 1,
      grace_seconds: 30,
      log_level: 'info',
    });
  });

  test.each([
    [['--nonsense=1'], /^Unknown argument --nonsense=1\. Known are --model_name, /],
    [['iris'], /^Unknown argument iris\./],
    [['--model_name'], /^--model_name needs a value\.$/],
    [['--model_dir='], /^--model_dir needs a value\.$/],
    [['--http_port=http'], /^--http_port must be a whole number from 0 to 65535, not 'http'\.$/],
    [['--http_port=65536'], /^--http_port must be /],
    [['--max_queue=0'], /^--max_queue must be a whole number from 1 /],
    [['--threads', '-1'], /^--threads must be /],
  ])('refuses %j with one plain sentence', (argv, message) => {
    expect(() => parseFlags(argv)).toThrow(message);
  });
});
