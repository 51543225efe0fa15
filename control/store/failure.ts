import { MusterError } from '../../domain/errors.ts';

/** SQLSTATEs of a full disk and of a server that is away or going. */
const diskFull = new Set(['53100', 'ENOSPC']);
const away = /^(08...|57P0[123]|ECONN\w+|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT)$/;

export interface StoreFailure {
  readonly error: MusterError;
  /** True when the store cannot be used any more by this process: it should end and be started again. */
  readonly fatal: boolean;
}

/** What a failure of the database means to a caller, in plain words. */
export function storeFailure(cause: unknown): StoreFailure {
  if (cause instanceof MusterError) return { error: cause, fatal: false };
  const code = codeOf(cause);
  const words = cause instanceof Error ? cause.message : String(cause);
  if (diskFull.has(code) || /no space left on device/i.test(words)) {
    return {
      error: new MusterError(
        'disk_full',
        'The disk of the store is full. Free some space on the disk of MUSTER_DATA_DIR and try again.',
        { cause },
      ),
      fatal: severityOf(cause) === 'PANIC',
    };
  }
  if (away.test(code)) {
    return {
      error: new MusterError('internal', `The database does not answer (${words}).`, { cause }),
      fatal: false,
    };
  }
  // A five-letter SQLSTATE is an answer of a working database; anything else is the engine itself.
  const answered = /^[0-9A-Z]{5}$/.test(code) && severityOf(cause) !== 'PANIC';
  return {
    error: new MusterError('internal', `The store failed: ${words}`, { cause }),
    fatal: !answered,
  };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

function severityOf(error: unknown): string {
  return error instanceof Error && 'severity' in error && typeof error.severity === 'string'
    ? error.severity
    : '';
}
