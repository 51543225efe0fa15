import { copyFileSync, existsSync, openSync, renameSync, statSync, truncateSync } from 'node:fs';

/** Older files are <file>.1 (newest) to <file>.<KEPT>. */
const KEPT = 3;
const BYTES_MAX = 20 * 1024 * 1024;

/** Moves what the last run wrote aside and opens a fresh file that a child can write to. @returns its descriptor */
export function openLog(file: string): number {
  if (existsSync(file) && statSync(file).size > 0) {
    shift(file);
    renameSync(file, `${file}.1`);
  }
  return appendLog(file);
}

/** Opens the file to go on writing: a restarted child's words follow those of its end. */
export function appendLog(file: string): number {
  return openSync(file, 'a', 0o600);
}

/**
 * Called now and then. The child writes to the file itself (so that its log outlives us) and in append mode, so
 * the file is copied and emptied under it; lines written between the two are lost.
 */
export function rotateBySize(file: string, bytesMax = BYTES_MAX): boolean {
  if (!existsSync(file) || statSync(file).size <= bytesMax) return false;
  shift(file);
  copyFileSync(file, `${file}.1`);
  truncateSync(file, 0);
  return true;
}

function shift(file: string): void {
  for (let i = KEPT - 1; i >= 1; i -= 1) {
    if (existsSync(`${file}.${i}`)) renameSync(`${file}.${i}`, `${file}.${i + 1}`);
  }
}
