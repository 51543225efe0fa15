import { MusterError } from '../domain/errors.ts';

/** Command line of the model server; names and defaults are KServe's where KServe has the flag. */
export interface Flags {
  readonly model_name: string;
  readonly model_dir: string;
  readonly host: string;
  readonly http_port: number;
  /** Largest request body. */
  readonly max_body_bytes: number;
  /** Inferences that may wait or run at one time; more are refused with 503. */
  readonly max_queue: number;
  /** Models that one process may hold; each has a thread of its own. */
  readonly max_models: number;
  /** Threads that one operator of one model may use. */
  readonly threads: number;
  /** How long requests in flight may take after SIGTERM. */
  readonly grace_seconds: number;
  readonly log_level: string;
}

interface NumberFlag {
  readonly fallback: number;
  readonly least: number;
  readonly most: number;
}

const texts = {
  model_name: 'model',
  model_dir: '/mnt/models',
  host: '127.0.0.1',
  log_level: 'info',
} as const;

const numbers = {
  http_port: { fallback: 8080, least: 0, most: 65535 },
  max_body_bytes: { fallback: 100 * 1024 * 1024, least: 1, most: 2 ** 31 - 1 },
  max_queue: { fallback: 256, least: 1, most: 100_000 },
  max_models: { fallback: 64, least: 1, most: 1024 },
  threads: { fallback: 1, least: 1, most: 1024 },
  grace_seconds: { fallback: 30, least: 0, most: 3600 },
} as const satisfies Record<string, NumberFlag>;

const names = [...Object.keys(texts), ...Object.keys(numbers)].map((name) => `--${name}`);

/**
 * Both `--flag=value` and `--flag value`; the last one wins.
 * @throws MusterError `invalid_input` with one plain sentence
 */
export function parseFlags(argv: readonly string[]): Flags {
  const given = new Map<string, string>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? '';
    const [, name, attached] = /^--([a-z_]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === undefined || !names.includes(`--${name}`))
      throw new MusterError('invalid_input', `Unknown argument ${argument}. Known are ${names.join(', ')}.`);
    const value = attached ?? argv[++i];
    if (value === undefined || value === '')
      throw new MusterError('invalid_input', `--${name} needs a value.`);
    given.set(name, value);
  }
  const text = (name: keyof typeof texts) => given.get(name) ?? texts[name];
  const number = (name: keyof typeof numbers) => parseNumber(name, numbers[name], given.get(name));
  return {
    model_name: text('model_name'),
    model_dir: text('model_dir'),
    host: text('host'),
    log_level: text('log_level'),
    http_port: number('http_port'),
    max_body_bytes: number('max_body_bytes'),
    max_queue: number('max_queue'),
    max_models: number('max_models'),
    threads: number('threads'),
    grace_seconds: number('grace_seconds'),
  };
}

function parseNumber(name: string, { fallback, least, most }: NumberFlag, text: string | undefined): number {
  if (text === undefined) return fallback;
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw new MusterError(
    'invalid_input',
    `--${name} must be a whole number from ${least} to ${most}, not '${text}'.`,
  );
}
