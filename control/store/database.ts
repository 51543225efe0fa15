/**
 * The little that the store needs of a database, so that the embedded one (PGlite) and Postgres are one dialect:
 * numbered parameters, rows as plain objects, `json` columns parsed, transactions.
 */
export interface Queries {
  /** One statement; rows as objects. */
  query(sql: string, values?: readonly unknown[]): Promise<Row[]>;
}
export type Row = Readonly<Record<string, unknown>>;

export interface Database extends Queries {
  /** Commits when `work` returns, rolls back when it throws. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Called with the seconds that each statement or transaction took. */
export type ObserveLatency = (operation: 'query' | 'transaction', seconds: number) => void;

/** Wraps a database so that each call's time is seen and each failure is one that callers understand. */
export function observed(
  database: Database,
  observe: ObserveLatency,
  translate: (error: unknown) => unknown,
): Database {
  const timed = async <T>(operation: 'query' | 'transaction', call: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    try {
      return await call();
    } catch (error) {
      throw translate(error);
    } finally {
      observe(operation, (performance.now() - start) / 1000);
    }
  };
  return {
    query: (sql, values) => timed('query', () => database.query(sql, values)),
    transaction: (work) => timed('transaction', () => database.transaction(work)),
    close: () => database.close(),
  };
}

/** Values as both databases take them: text may not hold the character NUL, which only broken programs print. */
export function sendable(values: readonly unknown[] = []): unknown[] {
  return values.map((value) => (typeof value === 'string' ? withoutNul(value) : value));
}

/** The text with each NUL shown as the replacement character. */
export function withoutNul(text: string): string {
  return text.includes('\0') ? text.replaceAll('\0', '\ufffd') : text;
}
