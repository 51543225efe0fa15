import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Replica } from '../../../domain/node/replica.ts';
import type { Workload } from '../../../domain/workload/workload.ts';

/**
 * The agent's memory on disk: one JSON file a revision with what is wanted and what was started. It is what lets
 * the agent run replicas with Temporal and the control API down, and find its servers again after kill -9.
 */
export interface ProcessRecord {
  /** Null between the decision to start and the start: a kill in between is found by the arguments. */
  readonly pid: number | null;
  readonly identity: string | null;
  readonly port: number;
  readonly argv: readonly string[];
}

export interface ReplicaRecord {
  readonly replica: Replica;
  readonly process: ProcessRecord | null;
}

export interface RevisionRecord {
  readonly version: 1;
  readonly workload: Workload;
  readonly modelDir: string;
  /** Folders of programs of its environment. */
  readonly bin: readonly string[];
  /** False once it was removed and its servers are still ending. */
  readonly isWanted: boolean;
  readonly replicas: readonly ReplicaRecord[];
}

export class Records {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** All readable records. A file that is not readable is set aside, so that one bad file stops nothing. */
  async load(onBad: (file: string, error: unknown) => void): Promise<readonly RevisionRecord[]> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const records: RevisionRecord[] = [];
    for (const file of await readdir(this.#folder)) {
      const path = join(this.#folder, file);
      if (file.endsWith('.tmp')) await rm(path, { force: true });
      if (!file.endsWith('.json')) continue;
      try {
        const record = JSON.parse(await readFile(path, 'utf8')) as RevisionRecord;
        // The version is a literal type, yet an older or newer build may have written the file.
        if ((record.version as number) !== 1)
          throw new Error(`version ${String(record.version)} is not known`);
        records.push(record);
      } catch (error) {
        renameSync(path, `${path}.bad`);
        onBad(path, error);
      }
    }
    return records;
  }

  /**
   * Synchronous, so that nothing runs between a start and its record but the write itself. What is wanted is
   * durable against power loss; what runs need not be, since it would be gone too.
   */
  save(id: string, record: RevisionRecord, isDurable: boolean): void {
    const path = this.#path(id);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    writeFileSync(`${path}.tmp`, JSON.stringify(record), { mode: 0o600, flush: isDurable });
    renameSync(`${path}.tmp`, path);
  }

  /** Synchronous too: a revision that is applied again meanwhile must not lose its new file. */
  delete(id: string): void {
    rmSync(this.#path(id), { force: true });
  }

  /** The id in readable form, and its digest, since ids may be longer than a file name. */
  #path(id: string): string {
    const digest = createHash('sha256').update(id).digest('hex').slice(0, 16);
    return join(this.#folder, `${id.replaceAll('/', '_').slice(0, 150)}-${digest}.json`);
  }
}
