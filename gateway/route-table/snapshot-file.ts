import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import writeFileAtomic from 'write-file-atomic';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';

/**
 * The last good route table on disk, so that a gateway that starts with everything else down still serves. It is
 * written beside and moved into place, and carries a checksum: half a file, or one that somebody changed, is
 * ignored and said so. Only the newest of the tables that come during a write is written next.
 */
export class SnapshotFile {
  private readonly path: string;
  private readonly logger: Logger;
  private next: RouteTable | null = null;
  private writing: Promise<void> | null = null;

  constructor(path: string, logger: Logger) {
    this.path = path;
    this.logger = logger;
  }

  /** @returns the table as it was saved, unchecked beyond its checksum, or null */
  async load(): Promise<unknown> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
      if (!isMissing)
        this.logger.warn({ err: error, path: this.path }, 'the saved route table cannot be read');
      return null;
    }
    const table = readSnapshot(text);
    if (table === null) {
      this.logger.warn(
        { path: this.path },
        'the saved route table is damaged and was ignored; waiting for a new one',
      );
    }
    return table;
  }

  save(table: RouteTable): void {
    this.next = table;
    this.writing ??= this.writeAll();
  }

  /** Resolves when what was saved is on disk, or has failed to get there. */
  async flush(): Promise<void> {
    await this.writing;
  }

  private async writeAll(): Promise<void> {
    while (this.next !== null) {
      const table = this.next;
      this.next = null;
      try {
        await mkdir(dirname(this.path), { recursive: true });
        await writeFileAtomic(this.path, formatSnapshot(table), { mode: 0o600 });
      } catch (error) {
        this.logger.warn(
          { err: error, path: this.path },
          'the route table could not be saved; serving goes on',
        );
      }
    }
    this.writing = null;
  }
}

export function formatSnapshot(table: RouteTable): string {
  const text = JSON.stringify(table);
  return `{"sha256":"${digest(text)}","table":${text}}\n`;
}

export function readSnapshot(text: string): unknown {
  try {
    const read: unknown = JSON.parse(text);
    if (typeof read !== 'object' || read === null || !('sha256' in read) || !('table' in read)) return null;
    return digest(JSON.stringify(read.table)) === read.sha256 ? read.table : null;
  } catch {
    return null;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
