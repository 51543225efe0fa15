import type { Budget } from './budget-policy.schema.ts';

/** One run of a period, UTC. */
export interface Window {
  /** Names it: `2026-11-24T13`, `2026-11-24`, the Monday of a week as `2026-11-23w`, `2026-11`, `total`. */
  readonly key: string;
  /** Milliseconds since 1970; -Infinity for `total`. */
  readonly startMs: number;
  /** Milliseconds since 1970, the end excluded; Infinity for `total`. */
  readonly endMs: number;
}

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** 1970-01-01 was a Thursday: the first Monday came four days later. */
const mondayMs = 4 * dayMs;

/** The run of a period that a moment lies in. */
export function windowOf(period: Budget['period'], nowMs: number): Window {
  switch (period) {
    case 'hour': {
      const startMs = Math.floor(nowMs / hourMs) * hourMs;
      return { key: iso(startMs).slice(0, 13), startMs, endMs: startMs + hourMs };
    }
    case 'day': {
      const startMs = Math.floor(nowMs / dayMs) * dayMs;
      return { key: iso(startMs).slice(0, 10), startMs, endMs: startMs + dayMs };
    }
    case 'week': {
      const startMs = Math.floor((nowMs - mondayMs) / (7 * dayMs)) * 7 * dayMs + mondayMs;
      return { key: `${iso(startMs).slice(0, 10)}w`, startMs, endMs: startMs + 7 * dayMs };
    }
    case 'month': {
      const now = new Date(nowMs);
      const [year, month] = [now.getUTCFullYear(), now.getUTCMonth()];
      const [startMs, endMs] = [Date.UTC(year, month, 1), Date.UTC(year, month + 1, 1)];
      return { key: iso(nowMs).slice(0, 7), startMs, endMs };
    }
    case 'total':
      return { key: 'total', startMs: -Infinity, endMs: Infinity };
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
