import { describe, expect, test } from '@jest/globals';
import { PassThrough, Readable } from 'node:stream';
import { createProgram } from '../../../control/cli/program.ts';
import { runCli } from '../../fixtures/cli/run-cli.ts';

const io = {
  env: {},
  cwd: '/',
  home: '/',
  stdin: Readable.from([]),
  stdout: new PassThrough(),
  stderr: new PassThrough(),
};
const commands = createProgram(io)
  .commands.map((command) => command.name())
  .filter((name) => name !== 'help' && name !== 'complete');

describe('muster --help', () => {
  test('names every command, the exit codes and examples', async () => {
    const { code, stdout } = await runCli(['--help']);
    expect(code).toBe(0);
    for (const name of commands) expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
    expect(stdout).toContain('Exit codes: 0 ok');
  });

  test.each(commands)('%s --help explains itself with an example that names it', async (name) => {
    const { code, stdout } = await runCli([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:[\\s\\S]*muster ${name}`));
  });

  test.each(['create', 'list', 'rotate', 'revoke'])('key %s --help shows how it is used', async (name) => {
    const { code, stdout } = await runCli(['key', name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:[\\s\\S]*muster key ${name}`));
  });

  test.each(['bash', 'zsh', 'fish'])('completion for %s is a script', async (shell) => {
    const { code, stdout } = await runCli(['completion', shell]);
    expect(code).toBe(0);
    expect(stdout).toContain('muster');
    expect(stdout.split('\n').length).toBeGreaterThan(5);
  });

  test('completion for a shell that is not known is refused', async () => {
    expect((await runCli(['completion', 'tcsh'])).code).toBe(2);
  });

  test('completes commands by what was typed', async () => {
    const { stdout } = await runCli(['complete', '--', 'dep']);
    expect(stdout).toMatch(/^deploy/m);
    expect(stdout).not.toMatch(/^delete/m);
  });
});
