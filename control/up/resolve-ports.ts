import { parseSettings, type Settings } from '../../domain/process/settings.schema.ts';
import { freePort } from './ports.ts';

const variables = {
  MUSTER_GATEWAY_PORT: 'gatewayPort',
  MUSTER_API_PORT: 'apiPort',
  MUSTER_TEMPORAL_PORT: 'temporalPort',
  MUSTER_TEMPORAL_UI_PORT: 'temporalUiPort',
} as const;

/** Port 0 means any free one; all processes must agree on it, so it is chosen here. */
export async function resolvePorts(
  settings: Settings,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Settings> {
  const chosen: Record<string, string> = {};
  for (const [variable, field] of Object.entries(variables)) {
    let port = settings[field];
    while (port === 0 || Object.values(chosen).includes(String(port))) port = await freePort(settings.host);
    if (settings[field] === 0) chosen[variable] = String(port);
  }
  if (Object.keys(chosen).length === 0) return settings;
  return parseSettings({ ...env, ...chosen, MUSTER_DATA_DIR: settings.dataDir }, '');
}
