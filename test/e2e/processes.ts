import { readdirSync, readFileSync } from 'node:fs';

export interface SeenProcess {
  readonly pid: number;
  readonly command: string;
}

/**
 * All processes that belong to one data folder, by its path in their command line or environment. It asks the
 * kernel and not Muster's own records, so that a child which Muster forgot is seen too.
 */
export function processesOf(dataDir: string): SeenProcess[] {
  const found: SeenProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const command = readOr(`/proc/${entry}/cmdline`).replaceAll('\0', ' ').trim();
    if (command === '') continue; // a kernel thread or a zombie
    if (`${command}\0${readOr(`/proc/${entry}/environ`)}`.includes(dataDir))
      found.push({ pid: Number(entry), command });
  }
  return found;
}

/** What a test may kill, with the words of its command line that name it. */
export const roles = {
  gateway: /gateway\/main\.ts/,
  api: /control\/api\/main\.ts/,
  worker: /workers\/control\/main\.ts/,
  observer: /workers\/observer\/main\.ts/,
  agent: /workers\/agent\/main\.ts/,
  temporal: /^\S*temporal server start-dev/,
  iris: /runtime\/main\.ts.*iris/,
  'tiny-llm': /llamacpp\/server\.py/,
  parent: /control\/(up|cli)\/main\.ts/,
} as const;
export type Role = keyof typeof roles;

export function pidOf(dataDir: string, role: Role): number | undefined {
  return processesOf(dataDir).find((p) => roles[role].test(p.command))?.pid;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it ended meanwhile, or belongs to someone else
  }
}
