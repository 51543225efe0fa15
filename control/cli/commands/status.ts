import { dataFolder } from '../../../domain/process/data-folder.ts';
import type { ControlStatus } from '../../../domain/control/status.schema.ts';
import { readLock } from '../../up/lock.ts';
import { isAlive } from '../../up/process-identity.ts';
import { lockFile, type UpState } from '../../up/state.ts';
import { ageOf } from '../age.ts';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { readState } from '../locate.ts';
import { renderTable } from '../table.ts';
import { printRaw, type RecordOptions } from './records.ts';

/** `muster status`: the embedded stack's processes and what the control API says of the whole. */
export async function status(context: Context, options: RecordOptions): Promise<void> {
  const parent = runningParent(context.settings.dataDir);
  const control = (await context.api.get('/apis/muster.dev/v1alpha1/status').catch((error: unknown) => {
    if (error instanceof CliError && error.exitCode === exitCodes.unreachable) return null;
    throw error;
  })) as ControlStatus | null;
  if (parent === null && control === null) {
    throw new CliError(
      `Muster is not running on ${context.settings.dataDir}, and no control API answers at ${context.api.url}. ` +
        'Start it with `npx muster up`.',
      exitCodes.unreachable,
    );
  }
  if (printRaw(context, { parent, control }, options)) return;
  context.print(statusText(parent, control, new Date()));
}

export function statusText(parent: UpState | null, control: ControlStatus | null, now: Date): string {
  const sections: string[] = [];
  if (parent !== null) {
    const rows = parent.processes.map((p) => [
      p.name,
      p.phase,
      p.pid === null ? '' : String(p.pid),
      String(p.restarts),
      p.message,
    ]);
    sections.push(
      `Muster is ${parent.phase} (process ${parent.pid}, ${ageOf(parent.startedAt, now)}, data folder ${parent.dataDir})`,
      renderTable(['PROCESS', 'STATE', 'PID', 'RESTARTS', 'MESSAGE'], rows),
    );
  }
  if (control === null) sections.push('The control API does not answer.');
  else sections.push(...controlLines(control, parent, now));
  return sections.join('\n\n');
}

function controlLines(control: ControlStatus, parent: UpState | null, now: Date): readonly string[] {
  const { temporal, services } = control;
  const uiUrl = temporal.uiUrl ?? parent?.endpoints.temporalUi ?? null;
  const ui = uiUrl === null ? '' : `, UI ${uiUrl}`;
  const reachable = temporal.reachable ? 'reachable' : 'NOT reachable: reads work, changes wait';
  const nodes = control.nodes.map((n) => [
    n.node,
    n.lastSeen === null ? 'never' : ageOf(n.lastSeen, now),
    `${n.replicas.ready}/${n.replicas.total}`,
    n.notices.join(' '),
  ]);
  return [
    [
      `Gateway    ${control.gatewayUrl} (${control.gateways.length} connected, routes version ${control.routesVersion})`,
      `Temporal   ${temporal.address} (${reachable}${ui})`,
      `Services   ${services.ready} of ${services.total} ready`,
    ].join('\n'),
    renderTable(['NODE', 'SEEN', 'REPLICAS', 'NOTES'], nodes),
  ];
}

function runningParent(dataDir: string): UpState | null {
  const { run } = dataFolder(dataDir);
  const lock = readLock(lockFile(run));
  return lock !== null && isAlive(lock) ? readState(run) : null;
}
