import type { TransferReport } from '../../domain/node/report.schema.ts';
import type { RevisionKey } from '../../domain/workload/workload.ts';

export interface Progress {
  readonly done: number;
  readonly total: number | null;
  readonly message: string;
}

export interface Transfer {
  readonly update: (progress: Progress) => void;
  readonly report: () => TransferReport;
  readonly end: () => void;
}

/** Downloads and environments in the making, for the node's report. As many as activities run at once. */
export class Transfers {
  readonly #current = new Set<{ report: TransferReport }>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  begin(key: RevisionKey, phase: TransferReport['phase'], message: string): Transfer {
    const { namespace, name, revision } = key;
    const entry = {
      report: { namespace, name, revision, phase, done: 0, total: null, message } as TransferReport,
    };
    this.#current.add(entry);
    this.#changed();
    return {
      update: ({ done, total, message: text }) => {
        entry.report = { ...entry.report, done, total, message: text };
        this.#changed();
      },
      report: () => entry.report,
      end: () => {
        this.#current.delete(entry);
        this.#changed();
      },
    };
  }

  list(): readonly TransferReport[] {
    return [...this.#current].map((entry) => entry.report);
  }
}
