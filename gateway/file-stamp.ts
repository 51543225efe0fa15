import { statSync } from 'node:fs';

/**
 * What changes when one of these files is written, or replaced by renaming or by a link (as Kubernetes does it); a file
 * that is not there has a stamp, too.
 */
export function fileStamp(paths: readonly string[]): string {
  return paths
    .map((path) => {
      const { mtimeMs, ino, size } = statSync(path, { throwIfNoEntry: false }) ?? {};
      return `${mtimeMs} ${ino} ${size}`;
    })
    .join('|');
}
