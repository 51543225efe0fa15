import { closeSync, mkdirSync, openSync, truncateSync } from 'node:fs';
import { copyFile, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * The log of one replica. The server writes to the file itself, by its own descriptor, so that it logs on while
 * the agent is dead. Rotation therefore copies and truncates: the descriptor appends, so the server's next line
 * lands at the new start of the file. Lines written between copy and truncation are lost; that is the price.
 */
export const logLimits = {
  maxBytes: 10 * 1024 * 1024,
  kept: 2,
  failureBytes: 4096,
  failureLines: 20,
  keptMs: 7 * 24 * 3_600_000,
} as const;

/** `<root>/<namespace>/<name>/<revision>-<index>.log` */
export function logPath(
  root: string,
  key: { readonly namespace: string; readonly name: string; readonly revision: string },
  index: number,
): string {
  return join(root, key.namespace, key.name, `${key.revision}-${String(index)}.log`);
}

/** Opens for appending; only the user can read it, since servers log requests. The caller closes it. */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return openSync(path, 'a', 0o600);
}

export function closeLog(fd: number): void {
  closeSync(fd);
}

/** Moves a log that is too long aside: `.1` is the newest of the kept ones. @returns true when it did */
export async function rotateLog(path: string, maxBytes: number = logLimits.maxBytes): Promise<boolean> {
  const size = await stat(path).then(
    (s) => s.size,
    () => 0,
  );
  if (size <= maxBytes) return false;
  for (let n = logLimits.kept - 1; n >= 1; n--) {
    await rename(`${path}.${String(n)}`, `${path}.${String(n + 1)}`).catch(() => undefined);
  }
  try {
    await copyFile(path, `${path}.tmp`);
    await rename(`${path}.tmp`, `${path}.1`);
  } finally {
    // Also when the disk is full and the copy failed: a log must not be what fills it.
    truncateSync(path, 0);
  }
  return true;
}

/** The last `lines` lines of the file, at most `maxBytes` of them. Empty when there is no file. */
export async function tailLog(path: string, lines: number, maxBytes: number): Promise<string> {
  const file = await open(path, 'r').catch(() => null);
  if (!file) return '';
  try {
    const { size } = await file.stat();
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    let text = buffer.subarray(0, bytesRead).toString('utf8');
    if (size > length) text = text.slice(text.indexOf('\n') + 1);
    return lines === 0
      ? ''
      : text
          .split(/(?<=\n)/)
          .slice(-lines)
          .join('');
  } finally {
    await file.close();
  }
}

/** Removes logs that nobody has written to for a week, but not those of revisions that are wanted: they may be quiet. */
export async function pruneLogs(
  root: string,
  nowMs: number,
  wanted: readonly { readonly namespace: string; readonly name: string; readonly revision: string }[],
): Promise<void> {
  const kept = wanted.map(({ namespace, name, revision }) => join(root, namespace, name, `${revision}-`));
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((e) => e.isFile())) {
    const path = join(entry.parentPath, entry.name);
    if (kept.some((prefix) => path.startsWith(prefix))) continue;
    const { mtimeMs } = await stat(path);
    if (nowMs - mtimeMs > logLimits.keptMs) await rm(path, { force: true });
  }
}

export interface ReplicaLog {
  readonly path: string;
  readonly revision: string;
  readonly index: number;
}

/** All present logs of a service, newest revision first, lowest index first. */
export async function listLogs(
  root: string,
  namespace: string,
  name: string,
): Promise<readonly ReplicaLog[]> {
  const folder = join(root, namespace, name);
  const files = await readdir(folder).catch(() => [] as string[]);
  return files
    .flatMap((file) => {
      const match = /^(.+)-(\d+)\.log$/.exec(file);
      const [, revision, index] = match ?? [];
      return revision === undefined ? [] : [{ path: join(folder, file), revision, index: Number(index) }];
    })
    .sort((a, b) => (a.revision === b.revision ? a.index - b.index : a.revision < b.revision ? 1 : -1));
}
