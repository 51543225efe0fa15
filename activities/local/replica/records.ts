import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { AgentRecord } from '../../../domain/node/records.ts';

/** The agent's memory on disk, see domain/node/records.ts. */
export class Records {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** All readable records. A file that is not readable is set aside, so that one bad file stops nothing. */
  async load(onBad: (file: string, error: unknown) => void): Promise<readonly AgentRecord[]> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const records: AgentRecord[] = [];
    for (const file of await readdir(this.#folder)) {
      const path = join(this.#folder, file);
      if (file.endsWith('.tmp')) await rm(path, { force: true });
      if (!file.endsWith('.json')) continue;
      try {
        const record = JSON.parse(await readFile(path, 'utf8')) as AgentRecord;
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
  save(id: string, record: AgentRecord, isDurable: boolean): void {
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
