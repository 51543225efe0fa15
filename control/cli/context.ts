import type { Readable, Writable } from 'node:stream';
import { parseSettings, type Settings } from '../../domain/process/settings.schema.ts';
import { createApi, type Api } from './api.ts';
import { exitCodes, CliError } from './exit-codes.ts';
import { locate } from './locate.ts';

/** What a command may touch of the world; tests pass their own. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable & { readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: Writable;
}

/** Options that every command takes. */
export interface GlobalOptions {
  readonly namespace?: string;
  readonly dataDir?: string;
  readonly api?: string;
  readonly gateway?: string;
  readonly apiKeyFile?: string;
}

export interface Context {
  readonly io: Io;
  readonly settings: Settings;
  readonly namespace: string;
  /** The user named the namespace, rather than left it to the default. */
  readonly isNamespaceGiven: boolean;
  readonly api: Api;
  readonly gatewayUrl: string;
  /** The environment with the options laid over it, for processes that are started. */
  readonly env: Readonly<Record<string, string | undefined>>;
  print(text: string): void;
  /** For what is said beside the result. */
  note(text: string): void;
}

export function createContext(io: Io, options: GlobalOptions): Context {
  const env = {
    ...io.env,
    ...(options.dataDir === undefined ? {} : { MUSTER_DATA_DIR: options.dataDir }),
    ...(options.api === undefined ? {} : { MUSTER_API_URL: options.api }),
    ...(options.gateway === undefined ? {} : { MUSTER_GATEWAY_URL: options.gateway }),
    ...(options.apiKeyFile === undefined ? {} : { MUSTER_API_KEY_FILE: options.apiKeyFile }),
  };
  const settings = readSettings(env, io.home);
  const { apiUrl, gatewayUrl, token } = locate(env, settings);
  return {
    io,
    settings,
    namespace: options.namespace ?? 'default',
    isNamespaceGiven: options.namespace !== undefined,
    api: createApi(apiUrl, token),
    gatewayUrl,
    env,
    print: (text) => io.stdout.write(`${text}\n`),
    note: (text) => io.stderr.write(`${text}\n`),
  };
}

function readSettings(env: Context['env'], home: string): Settings {
  try {
    return parseSettings(env, home);
  } catch (error) {
    const issues =
      (error as { issues?: readonly { path: readonly PropertyKey[]; message: string }[] }).issues ?? [];
    const words = issues.map((issue) => `${issue.path.map(String).join('.')}: ${issue.message}`).join('; ');
    throw new CliError(`An environment variable or option is wrong. ${words}`, exitCodes.usage, {
      cause: error,
    });
  }
}
