import { readFileSync } from 'node:fs';
import { dataFolder } from '../../domain/process/data-folder.ts';
import type { Settings } from '../../domain/process/settings.schema.ts';
import { stateFile, type UpState } from '../up/state.ts';

export interface Located {
  readonly apiUrl: string;
  readonly gatewayUrl: string;
  /** null: there is no token file, the API will refuse. */
  readonly token: string | null;
}

/**
 * Where the control API and the gateway are: what was asked for by option or variable, else what the embedded
 * stack of the data folder wrote down (its ports may have been chosen freely), else the defaults.
 */
export function locate(env: Readonly<Record<string, string | undefined>>, settings: Settings): Located {
  const folder = dataFolder(settings.dataDir);
  const state = readState(folder.run);
  const isSet = (name: string) => env[name] !== undefined && env[name] !== '' && env[name] !== '0';
  const pick = (variables: readonly string[], asked: string, written: string | undefined) =>
    variables.some(isSet) ? asked : (written ?? asked);
  return {
    apiUrl: pick(['MUSTER_API_URL', 'MUSTER_API_PORT'], settings.apiUrl, state?.endpoints.api),
    gatewayUrl: pick(
      ['MUSTER_GATEWAY_URL', 'MUSTER_GATEWAY_PORT'],
      settings.gatewayUrl,
      state?.endpoints.gateway,
    ),
    token: readToken(folder.token),
  };
}

/** What the parent of a data folder wrote last; it may be gone since. */
export function readState(runFolder: string): UpState | null {
  try {
    return JSON.parse(readFileSync(stateFile(runFolder), 'utf8')) as UpState;
  } catch {
    return null;
  }
}

function readToken(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}
