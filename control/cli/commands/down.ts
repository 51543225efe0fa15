import { dataFolder } from '../../../domain/process/data-folder.ts';
import { endLeftovers, readModelServers } from '../../up/leftovers.ts';
import { readLock } from '../../up/lock.ts';
import { endAll, isAlive } from '../../up/process-identity.ts';
import { lockFile } from '../../up/state.ts';
import type { Context } from '../context.ts';
import { CliError } from '../exit-codes.ts';

/** Longer than the parent gives its children. */
const STOP_MS = 40_000;
const LEFTOVERS_MS = 10_000;

/** `muster down`: stops the stack of the data folder, and what a killed parent left of it. */
export async function down(context: Context): Promise<void> {
  const { run, agent } = dataFolder(context.settings.dataDir);
  const owner = readLock(lockFile(run));
  const isRunning = owner !== null && isAlive(owner);
  if (isRunning) {
    context.note('stopping…');
    const left = await endAll([owner], STOP_MS);
    if (left.length > 0) throw new CliError(`Process ${owner.pid} cannot be stopped.`);
  }
  const servers = readModelServers(agent).filter(isAlive);
  const leftovers = (await endLeftovers(run, LEFTOVERS_MS)) + servers.length;
  await endAll(servers, LEFTOVERS_MS);
  if (!isRunning && leftovers === 0) {
    context.print(`Muster is not running on ${context.settings.dataDir}.`);
    return;
  }
  context.print(
    leftovers === 0 ? 'Muster is stopped.' : `Muster is stopped (${leftovers} left-over processes ended).`,
  );
}
