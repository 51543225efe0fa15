import { closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { checkedLine, readCheckedLine } from './checked-line.ts';
import { identityOf, isStillThere } from './process-identity.ts';

/**
 * Usage records on their way to the ledger, on disk so that a killed process loses none that it had written. One line
 * holds what came within a few milliseconds, with a checksum: half a line is left out. Files carry the name of the
 * process that wrote them; those of processes that are gone are sent by whoever finds them, under their first name,
 * so that the ledger knows what it has.
 */
export interface SpoolLimits {
  /** How long a record may be in memory alone: what kill -9 can lose. */
  readonly flushMs: number;
  /** Records in memory while the disk cannot be written; the oldest go first. */
  readonly pendingMax: number;
  /** Of all files of this process; then as if the disk were full. */
  readonly bytesMax: number;
  /** A new file after so much. */
  readonly fileBytesMax: number;
}

export const defaultSpoolLimits: SpoolLimits = {
  flushMs: 20,
  pendingMax: 20_000,
  bytesMax: 256 * 1024 * 1024,
  fileBytesMax: 4 * 1024 * 1024,
};

/** So that a line is shorter than what is read at a time: so many records, or bytes unless one record alone has more. */
const recordsALine = 200;
const lineBytesMax = 256 * 1024;

/** Lines of one file, sent together. */
export interface SpoolPart {
  readonly gateway: string;
  /** Records as a list in JSON without its brackets. */
  readonly records: string;
  /** Of records. */
  readonly count: number;
  /** They are in the ledger: the next part may be read. */
  done(): void;
}

export class UsageSpool {
  /** Records that were lost: the disk was full for too long. */
  dropped = 0;
  writeFailures = 0;
  /** Lines that were damaged. */
  damaged = 0;
  private readonly folder: string;
  private readonly gatewayId: string;
  private readonly limits: SpoolLimits;
  private readonly logger: Logger;
  private sequence = 0;
  private pending: string[] = [];
  private timer: NodeJS.Timeout | null = null;
  private current: { readonly name: string; readonly file: number; bytes: number } | null = null;
  private files = 0;
  /** Bytes that are sent, by file; of files that are not whole yet. */
  private readonly sent = new Map<string, number>();
  private ownBytes = 0;

  /** @throws when the folder cannot be made */
  constructor(folder: string, gatewayId: string, logger: Logger, limits: SpoolLimits = defaultSpoolLimits) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.folder = folder;
    this.gatewayId = gatewayId;
    this.logger = logger;
    this.limits = limits;
  }

  get pendingCount(): number {
    return this.pending.length;
  }

  /** @param fields JSON text of a record without its number: `"requestId":…` and so on */
  add(fields: string): void {
    this.sequence += 1;
    this.pending.push(`${recordBegin}${this.sequence},${fields}}`);
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.flush();
    }, this.limits.flushMs);
  }

  /** Writes what is in memory. A disk that is full is tried again at the next record. */
  flush(): void {
    if (this.pending.length === 0) return;
    try {
      while (this.pending.length > 0) {
        const count = countForALine(this.pending);
        this.write(this.pending.slice(0, count));
        this.pending = this.pending.length > count ? this.pending.slice(count) : [];
      }
    } catch (error) {
      this.writeFailures += 1;
      if (this.writeFailures === 1)
        this.logger.error(
          { err: error, folder: this.folder },
          'usage records cannot be written: they stay in memory, and a crash would lose them',
        );
      const excess = this.pending.length - this.limits.pendingMax;
      if (excess > 0) {
        this.pending.splice(0, excess);
        this.dropped += excess;
      }
    }
  }

  /**
   * The next records to send, oldest file first; null: there are none. One part at a time.
   * @param bytesMax of the file's text; a line that is longer comes alone
   */
  async next(bytesMax: number): Promise<SpoolPart | null> {
    for (const name of this.readable()) {
      const part = await this.read(name, bytesMax);
      if (part !== null) return part;
    }
    return null;
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.flush();
    if (this.current === null) return;
    closeSync(this.current.file);
    this.current = null;
  }

  private write(records: readonly string[]): void {
    if (this.ownBytes > this.limits.bytesMax) throw new Error('the usage files have reached their bound');
    const line = Buffer.from(checkedLine(`[${records.join(',')}]`));
    const current = this.current ?? this.openNext();
    let written = 0;
    try {
      while (written < line.length) written += writeSync(current.file, line, written);
    } finally {
      current.bytes += written;
      this.ownBytes += written;
      // After half a line nothing may be appended: the next record begins another file.
      if (written < line.length || current.bytes > this.limits.fileBytesMax) this.closeCurrent();
    }
  }

  private openNext(): NonNullable<UsageSpool['current']> {
    this.files += 1;
    const { pid, startedAt } = identityOf(process.pid) ?? { pid: process.pid, startedAt: '' };
    const start = encodeURIComponent(startedAt);
    const name = `${pid}.${start}.${String(this.files).padStart(8, '0')}.${encodeURIComponent(this.gatewayId)}.usage`;
    this.current = { name, file: openSync(join(this.folder, name), 'ax', 0o600), bytes: 0 };
    return this.current;
  }

  private closeCurrent(): void {
    if (this.current === null) return;
    closeSync(this.current.file);
    this.current = null;
  }

  /** Files of this process, and those whose process is gone. */
  private readable(): string[] {
    return readdirSync(this.folder)
      .filter((name) => name.endsWith('.usage') && (this.isOwn(name) || !isOwnerThere(name)))
      .sort();
  }

  private isOwn(name: string): boolean {
    return gatewayOf(name) === this.gatewayId;
  }

  private async read(name: string, bytesMax: number): Promise<SpoolPart | null> {
    const path = join(this.folder, name);
    const from = this.sent.get(name) ?? 0;
    // Before it is read: what is written meanwhile, though the file is closed then, has not been read.
    const isWhole = name !== this.current?.name;
    const lines = await readLines(path, from, bytesMax);
    if (lines === null) {
      this.sent.delete(name);
      return null; // another process was faster
    }
    const { chunk, end } = lines;
    if (end === 0) {
      // Nothing more, or half a line that nobody will ever finish.
      if (isWhole) this.remove(name, path, chunk.length > 0);
      return null;
    }
    const records = this.recordsOf(chunk.subarray(0, end).toString('utf8'));
    return {
      gateway: gatewayOf(name),
      records,
      count: countIn(records),
      done: () => {
        this.sent.set(name, from + end);
      },
    };
  }

  private recordsOf(text: string): string {
    const records: string[] = [];
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const json = readCheckedLine(line);
      if (json === null) this.damaged += 1;
      else records.push(json.slice(1, -1));
    }
    return records.join(',');
  }

  private remove(name: string, path: string, isTorn: boolean): void {
    if (isTorn) this.damaged += 1;
    try {
      if (this.isOwn(name)) this.ownBytes -= statSync(path).size;
      unlinkSync(path);
    } catch {
      // another process was faster
    }
    this.sent.delete(name);
  }
}

/** How each record begins, and nothing within one: in a JSON string the quote would have a backslash before it. */
const recordBegin = '{"seq":';

function countIn(records: string): number {
  let count = 0;
  for (let at = records.indexOf(recordBegin); at >= 0; at = records.indexOf(recordBegin, at + 1)) count += 1;
  return count;
}

/** Records of a part, each as its text: one that is no JSON does not keep the others from being read. */
export function splitRecords(records: string): string[] {
  return records.split(`,${recordBegin}`).map((text, at) => (at === 0 ? text : recordBegin + text));
}

/** @returns how many of the records, at least one, go into the next line */
function countForALine(records: readonly string[]): number {
  const some = records.slice(0, recordsALine);
  let bytes = 0;
  const count = some.findIndex((record, at) => {
    bytes += Buffer.byteLength(record) + 1;
    return at > 0 && bytes > lineBytesMax;
  });
  return count === -1 ? some.length : count;
}

/**
 * Reads more than `bytesMax` only where a line is longer: that line then, at most the rest of the file.
 * @returns `end` of the whole lines in what was read, 0: there is none; null when the file is not there any more
 */
async function readLines(
  path: string,
  from: number,
  bytesMax: number,
): Promise<{ readonly chunk: Buffer; readonly end: number } | null> {
  let size = bytesMax;
  let chunk = await readFrom(path, from, size);
  while (chunk?.length === size && !chunk.includes(0x0a)) {
    size *= 2;
    chunk = await readFrom(path, from, size);
  }
  if (chunk === null) return null;
  return { chunk, end: (size > bytesMax ? chunk.indexOf(0x0a) : chunk.lastIndexOf(0x0a)) + 1 };
}

/** @returns null when the file is not there any more */
async function readFrom(path: string, from: number, bytesMax: number): Promise<Buffer | null> {
  let file;
  try {
    file = await open(path, 'r');
  } catch {
    return null;
  }
  try {
    const bytes = Buffer.alloc(bytesMax);
    const { bytesRead } = await file.read(bytes, 0, bytesMax, from);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function isOwnerThere(name: string): boolean {
  const [pid, startedAt = ''] = name.split('.');
  return isStillThere({ pid: Number(pid), startedAt: decodeURIComponent(startedAt) });
}

function gatewayOf(name: string): string {
  return decodeURIComponent(name.split('.').slice(3, -1).join('.'));
}
