import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import writeFileAtomic from 'write-file-atomic';
import { lease } from '../../domain/budget/lease-book.ts';
import type { LeaseAnswer, LeaseBook, LeaseCall, Limits } from '../../domain/budget/lease-book.ts';
import { codeOf } from '../../domain/errors.ts';
import { checkedLine, readCheckedLine } from '../usage/checked-line.ts';
import { claimSlot } from './journal-slot.ts';
import type { LeaseSource } from './lease-source.ts';

/**
 * The book of a gateway alone, on disk: one line a lease with the sum of all that was granted of its window, written
 * and synced before the slice is used. So a crash loses no charge of a slice: what of the last one was not spent counts
 * as spent. What answers used beyond all slices is entered by the next report, as far as the limit goes. Lines carry a
 * checksum; half a line, or one that somebody changed, is left out. When the disk is full, leases go on in memory,
 * counted and said, and a crash would then forget those.
 */
export class LeaseJournal implements LeaseSource {
  failures = 0;
  private readonly path: string;
  private readonly logger: Logger;
  private readonly now: () => number;
  private readonly release: () => void;
  private readonly books = new Map<string, { book: LeaseBook; endMs: number }>();
  private file: FileHandle | null = null;
  private bytes = 0;
  private queue: { readonly line: string; readonly done: () => void }[] = [];
  private writing: Promise<void> | null = null;

  private constructor(path: string, logger: Logger, now: () => number, release: () => void) {
    this.path = path;
    this.logger = logger;
    this.now = now;
    this.release = release;
  }

  /**
   * @param folder of journals: each process of this machine takes one that no living process has
   * @throws when the folder cannot be made, or a journal cannot be read: one that is taken for empty forgets charges
   */
  static async open(folder: string, logger: Logger, now: () => number): Promise<LeaseJournal> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { name, release } = claimSlot(folder);
    const journal = new LeaseJournal(join(folder, name), logger, now, release);
    try {
      await journal.recover();
    } catch (error) {
      release();
      throw error;
    }
    return journal;
  }

  lease(window: string, endMs: number, limits: Limits, call: LeaseCall): Promise<LeaseAnswer> {
    const before = this.books.get(window)?.book ?? null;
    const { book, answer } = lease(before, limits, call, this.now());
    this.books.set(window, { book, endMs });
    const isChanged = answer.grant.tokens !== 0 || answer.grant.micros !== 0;
    if (!isChanged) return Promise.resolve(answer);
    return new Promise((resolve) => {
      this.queue.push({
        line: lineOf(window, endMs, answer.total),
        done: () => {
          resolve(answer);
        },
      });
      this.writing ??= this.writeAll();
    });
  }

  async close(): Promise<void> {
    await this.writing;
    await this.compact();
    await this.file?.close().catch(() => undefined);
    this.file = null;
    this.release();
  }

  private async recover(): Promise<void> {
    const text = await readIfThere(this.path);
    let bad = 0;
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const read = readLine(line);
      if (read === null) bad += 1;
      else this.books.set(read.window, { book: restoredBook(read, this.now()), endMs: read.endMs });
    }
    if (bad > 0)
      this.logger.warn({ path: this.path, bad }, 'the budget journal has damaged lines: they were left out');
    await this.compact();
  }

  /** One write and one sync for all leases that came in the meantime. */
  private async writeAll(): Promise<void> {
    while (this.queue.length > 0) {
      const batch = this.queue;
      this.queue = [];
      const text = batch.map(({ line }) => line).join('');
      try {
        if (this.file === null) throw new Error('the journal is not open');
        await this.file.appendFile(text);
        await this.file.datasync();
        this.bytes += text.length;
      } catch (error) {
        this.failed(error);
        await this.compact();
      }
      for (const { done } of batch) done();
      if (this.bytes > bytesMax) await this.compact();
    }
    this.writing = null;
  }

  /** Writes the windows that still matter into a new file; the old one is whole until the new one is. */
  private async compact(): Promise<void> {
    const keepAfter = this.now() - keptAfterEndMs;
    const lines: string[] = [];
    for (const [window, { book, endMs }] of this.books) {
      if (endMs < keepAfter) this.books.delete(window);
      else lines.push(lineOf(window, endMs, totalOf(book)));
    }
    try {
      await writeFileAtomic(this.path, lines.join(''), { mode: 0o600, fsync: true });
      await this.file?.close();
      this.file = await open(this.path, 'a', 0o600);
      this.bytes = 0;
    } catch (error) {
      this.failed(error);
    }
  }

  private failed(error: unknown): void {
    this.failures += 1;
    if (this.failures === 1)
      this.logger.error(
        { err: error, path: this.path },
        'the budget journal cannot be written: leases go on in memory, and a crash would forget them',
      );
  }
}

/** The same without a disk, for a gateway that has no folder. */
export class MemoryLeases implements LeaseSource {
  readonly failures = 0;
  private readonly books = new Map<string, { book: LeaseBook; endMs: number }>();
  private readonly now: () => number;
  private sweepAtMs = 0;

  constructor(now: () => number) {
    this.now = now;
  }

  lease(window: string, endMs: number, limits: Limits, call: LeaseCall): Promise<LeaseAnswer> {
    const nowMs = this.now();
    if (nowMs >= this.sweepAtMs) this.sweep(nowMs);
    const { book, answer } = lease(this.books.get(window)?.book ?? null, limits, call, nowMs);
    this.books.set(window, { book, endMs });
    return Promise.resolve(answer);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private sweep(nowMs: number): void {
    this.sweepAtMs = nowMs + keptAfterEndMs;
    for (const [name, { endMs }] of this.books) if (endMs < nowMs - keptAfterEndMs) this.books.delete(name);
  }
}

/** Nobody leases of a window that is over; what its last requests used is settled long before. */
const keptAfterEndMs = 3_600_000;
const bytesMax = 1024 * 1024;

interface JournalLine {
  readonly window: string;
  readonly endMs: number;
  readonly tokens: number;
  readonly micros: number;
}

function lineOf(window: string, endMs: number, total: Limits): string {
  return checkedLine(JSON.stringify([window, endMs === Infinity ? null : endMs, total.tokens, total.micros]));
}

function readLine(line: string): JournalLine | null {
  const text = readCheckedLine(line);
  if (text === null) return null;
  const [window, endMs, tokens, micros] = JSON.parse(text) as [string, number | null, number, number];
  return { window, endMs: endMs ?? Infinity, tokens, micros };
}

function restoredBook({ tokens, micros }: JournalLine, nowMs: number): LeaseBook {
  const epoch = randomBytes(8).toString('hex');
  const since = { tokens: 0, micros: 0 };
  return { epoch, bornMs: nowMs, restored: { tokens, micros }, since, entries: {} };
}

function totalOf({ restored, since }: LeaseBook): Limits {
  return { tokens: restored.tokens + since.tokens, micros: restored.micros + since.micros };
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return '';
    throw error;
  }
}
