import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import writeFileAtomic from 'write-file-atomic';
import { lease } from '../../domain/budget/lease-book.ts';
import type { LeaseAnswer, LeaseBook, LeaseCall, Limits } from '../../domain/budget/lease-book.ts';
import { defaultLimits } from '../limits.ts';
import { takeFurtherSlot, takeSlot } from './journal-folder.ts';
import { lineOf, readJournal } from './journal-lines.ts';
import type { JournalLine } from './journal-lines.ts';
import type { JournalSlot } from './journal-slot.ts';
import type { LeaseSource } from './lease-source.ts';

export interface JournalOptions {
  readonly folder: string;
  /** Of this gateway: each has a journal, and a part of each limit. */
  readonly processes: number;
  readonly logger: Logger;
  readonly now: () => number;
  /** How long journals are waited for that other processes still have; leases wait meanwhile, and nothing else does. */
  readonly waitMs?: number;
  /** How long a single lease waits for them. */
  readonly leaseWaitMs?: number;
}

/**
 * The book of a gateway alone, on disk: one line a lease with the sum of all that was granted of its window, written
 * and synced before the slice is used. So a crash loses no charge of a slice: what of the last one was not spent counts
 * as spent. What answers used beyond all slices is entered by the next report, as far as the limit goes. Lines carry a
 * checksum; half a line, or one that somebody changed, is left out. When the disk is full, leases go on in memory,
 * counted and said, and a crash would then forget those.
 */
export class LeaseJournal implements LeaseSource {
  failures = 0;
  private readonly options: JournalOptions;
  /** Null while it waits for its journal, and when there was none to be had. */
  private slot: JournalSlot | null = null;
  private path = '';
  private opening: Promise<void> | null = null;
  private readonly stopping = new AbortController();
  private readonly books = new Map<string, { book: LeaseBook; endMs: number }>();
  private file: FileHandle | null = null;
  private bytes = 0;
  /** The file lacks leases, and may end within a line. */
  private isBehind = false;
  private queue: { readonly line: string; readonly done: () => void }[] = [];
  private writing: Promise<void> | null = null;

  private constructor(options: JournalOptions) {
    this.options = options;
  }

  /** @throws when the folder cannot be made, or a journal cannot be read: one that is taken for empty forgets charges */
  static async open(options: JournalOptions): Promise<LeaseJournal> {
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    const journal = new LeaseJournal(options);
    const waitMs = Math.min(shortMs, options.waitMs ?? longMs);
    const slot = await takeSlot(options, waitMs, journal.stopping.signal);
    if (slot === null) journal.opening = journal.openLater();
    else await journal.begin(slot);
    return journal;
  }

  async lease(window: string, endMs: number, limits: Limits, call: LeaseCall): Promise<LeaseAnswer | null> {
    if (this.opening !== null) await this.waitFor(this.opening);
    if (this.opening !== null || (this.slot === null && this.stopping.signal.aborted)) return null;
    const before = this.books.get(window)?.book ?? null;
    const { book, answer } = lease(before, limits, call, this.options.now());
    this.books.set(window, { book, endMs });
    const isChanged = answer.grant.tokens !== 0 || answer.grant.micros !== 0;
    if (!isChanged) return answer;
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

  stopWaiting(): void {
    this.stopping.abort();
  }

  async close(): Promise<void> {
    this.stopWaiting();
    await this.opening;
    await this.writing;
    if (this.slot !== null) await this.compact();
    await this.file?.close().catch(() => undefined);
    this.file = null;
    this.slot?.release();
  }

  /** As long as a lease may take. */
  private async waitFor(opening: Promise<void>): Promise<void> {
    const { leaseWaitMs = leaseMs } = this.options;
    const patience = new AbortController();
    const over = sleep(leaseWaitMs, undefined, { signal: patience.signal }).catch(() => undefined);
    await Promise.race([opening, over]);
    patience.abort();
  }

  /** A gateway that has budgets for some serves the others meanwhile. */
  private async openLater(): Promise<void> {
    const { folder, logger, waitMs = longMs } = this.options;
    const { signal } = this.stopping;
    logger.warn({ folder, waitMs }, 'other processes still have the budget journals: leases wait for them');
    try {
      let slot = await takeSlot(this.options, waitMs, signal);
      if (slot === null && !signal.aborted) {
        logger.error(
          { folder },
          'other processes keep the budget journals: this one begins another, and a part of each budget anew',
        );
        slot = await takeFurtherSlot(folder, signal);
      }
      if (slot !== null) await this.begin(slot);
      else if (!signal.aborted)
        throw new Error(`the budget journals in ${folder} are being changed by another process`);
    } catch (error) {
      this.failed(error);
    }
    this.opening = null;
  }

  private async begin(slot: JournalSlot): Promise<void> {
    const { folder, logger, now } = this.options;
    const path = join(folder, slot.name);
    try {
      for (const [window, line] of readJournal(path, logger))
        this.books.set(window, { book: restoredBook(line, now()), endMs: line.endMs });
    } catch (error) {
      slot.release();
      throw error;
    }
    [this.slot, this.path] = [slot, path];
    await this.compact();
  }

  /** One write and one sync for all leases that came in the meantime. */
  private async writeAll(): Promise<void> {
    while (this.queue.length > 0) {
      const batch = this.queue;
      this.queue = [];
      // Glued to half a line, the next one would be lost with it; empty lines say nothing.
      const text = (this.isBehind ? '\n' : '') + batch.map(({ line }) => line).join('');
      try {
        if (this.file === null) throw new Error('the journal is not open');
        await this.file.appendFile(text);
        await this.file.datasync();
        this.bytes += text.length;
      } catch (error) {
        this.isBehind = true;
        this.failed(error);
      }
      // Before what is leased may be used: a new file has all that this one lacks.
      if (this.isBehind) await this.compact();
      for (const { done } of batch) done();
      if (this.bytes > bytesMax) await this.compact();
    }
    this.writing = null;
  }

  /** Writes the windows that still matter into a new file; the old one is whole until the new one is. */
  private async compact(): Promise<void> {
    const keepAfter = this.options.now() - keptAfterEndMs;
    const lines: string[] = [];
    for (const [window, { book, endMs }] of this.books) {
      if (endMs < keepAfter) this.books.delete(window);
      else lines.push(lineOf(window, endMs, totalOf(book)));
    }
    try {
      if (this.slot === null) throw new Error('there is no journal');
      await writeFileAtomic(this.path, lines.join(''), { mode: 0o600, fsync: true });
      await this.file?.close();
      this.file = await open(this.path, 'a', 0o600);
      this.bytes = 0;
      this.isBehind = false;
    } catch (error) {
      this.failed(error);
    }
  }

  private failed(error: unknown): void {
    this.failures += 1;
    if (this.failures === 1)
      this.options.logger.error(
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
    // A clock that was ahead for a moment must not put this off until then.
    if (nowMs >= this.sweepAtMs || nowMs < this.sweepAtMs - keptAfterEndMs) this.sweep(nowMs);
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
/** Another process of this gateway opens its own. */
const shortMs = 1_000;
/** A request waits for its lease: its client should not take the gateway for dead. */
const leaseMs = 5_000;
/** A process that is told to end, or whose first process was killed, finishes its requests for so long. */
const longMs = defaultLimits.drainMs + 10_000;

function restoredBook({ tokens, micros }: JournalLine, nowMs: number): LeaseBook {
  const epoch = randomBytes(8).toString('hex');
  const since = { tokens: 0, micros: 0 };
  return { epoch, bornMs: nowMs, restored: { tokens, micros }, since, entries: {} };
}

function totalOf({ restored, since }: LeaseBook): Limits {
  return { tokens: restored.tokens + since.tokens, micros: restored.micros + since.micros };
}
