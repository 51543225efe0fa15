import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { AgentRecord } from '../../domain/node/records.ts';
import { endAll, isAlive, type ProcessIdentity } from './process-identity.ts';
import { childrenFile } from './state.ts';

/**
 * The record of what runs, written at every change, so that the next start or `muster down` can end what a killed
 * parent left behind: children end by themselves within seconds, but one may hang or its leash may be dead.
 */
export function recordChildren(runFolder: string, children: readonly ProcessIdentity[]): void {
  writeFileAtomic.sync(childrenFile(runFolder), `${JSON.stringify(children)}\n`, { mode: 0o600 });
}

/** Ends what an earlier parent left. @returns how many still ran */
export async function endLeftovers(runFolder: string, graceMs: number): Promise<number> {
  const left = readChildren(runFolder).filter(isAlive);
  await endAll(left, graceMs);
  rmSync(childrenFile(runFolder), { force: true });
  return left.length;
}

export function readChildren(runFolder: string): readonly ProcessIdentity[] {
  try {
    return JSON.parse(readFileSync(childrenFile(runFolder), 'utf8')) as readonly ProcessIdentity[];
  } catch {
    return [];
  }
}

/**
 * Model servers that a node agent has written down. The next agent adopts them; only `muster down`, after which
 * there is none, ends them. A record that cannot be read is passed over.
 */
export function readModelServers(agentFolder: string): readonly ProcessIdentity[] {
  return list(agentFolder).flatMap((file) => {
    try {
      const record = JSON.parse(readFileSync(join(agentFolder, file), 'utf8')) as Partial<AgentRecord>;
      return (record.replicas ?? []).flatMap(({ process: server }) => {
        const { pid = null, identity = null } = server ?? {};
        return pid === null || identity === null ? [] : [{ pid, started: identity }];
      });
    } catch {
      return [];
    }
  });
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith('.json'));
  } catch {
    return [];
  }
}
