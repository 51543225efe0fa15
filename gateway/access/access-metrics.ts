import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Caller } from '../../domain/access/caller.ts';
import { plainMetrics } from '../observe/plain-metrics.ts';

/** Plain counters, read when metrics are scraped. Labels are ours and the policy's, never a caller's words. */
export type RefusedReason =
  'missing' | 'unknown' | 'expired' | 'token' | 'scope' | 'busy' | 'issuer_unavailable';

export class AccessMetrics {
  readonly admitted: Record<Caller['kind'], number> = {
    anonymous: 0,
    key: 0,
    token: 0,
    certificate: 0,
    internal: 0,
  };
  readonly refused: Record<RefusedReason, number> = {
    missing: 0,
    unknown: 0,
    expired: 0,
    token: 0,
    scope: 0,
    busy: 0,
    issuer_unavailable: 0,
  };
  /** By `issuer outcome`. */
  private readonly fetches = new Map<string, { issuer: string; outcome: string; count: number }>();

  fetched(issuer: string, outcome: 'good' | 'failed'): void {
    const key = `${issuer} ${outcome}`;
    const entry = this.fetches.get(key) ?? { issuer, outcome, count: 0 };
    entry.count += 1;
    this.fetches.set(key, entry);
  }

  register(registry: Registry, read: AccessNumbers): void {
    const registers = [registry];
    const counts = (name: string, help: string, label: string, values: () => [string, number][]): void => {
      new Counter({
        name,
        help,
        labelNames: [label],
        registers,
        collect() {
          this.reset();
          for (const [value, count] of values()) if (count > 0) this.inc({ [label]: value }, count);
        },
      });
    };
    counts('muster_gateway_access_admitted_total', 'Requests let in, by what proved their caller', 'by', () =>
      Object.entries(this.admitted),
    );
    counts(
      'muster_gateway_access_refused_total',
      'Requests refused before their model was known',
      'reason',
      () => Object.entries(this.refused),
    );
    counts(
      'muster_gateway_access_first_sights_total',
      'Credentials that were looked at closely',
      'kind',
      () => [
        ['key', read.hashed()],
        ['token', read.verified()],
      ],
    );
    const metrics = plainMetrics(registry, 'muster_gateway_access_');
    metrics.gauge('keys', 'API keys in the table in force', read.keys);
    metrics.gauge('known_keys', 'Spellings of good keys remembered', read.knownKeys);
    metrics.gauge('known_tokens', 'Verified tokens remembered', read.knownTokens);
    metrics.gauge('refused_remembered', 'Refused credentials remembered', read.refused);
    metrics.gauge('verifying', 'Requests that wait for their token to be verified', read.waiting);
    this.registerIssuers(registry, read);
  }

  private registerIssuers(registry: Registry, read: AccessNumbers): void {
    const { fetches } = this;
    new Counter({
      name: 'muster_gateway_access_issuer_fetches_total',
      help: "Fetches of issuers' keys",
      labelNames: ['issuer', 'outcome'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { issuer, outcome, count } of fetches.values()) this.inc({ issuer, outcome }, count);
      },
    });
    new Gauge({
      name: 'muster_gateway_access_issuer_keys_age_seconds',
      help: "Time since an issuer's keys were fetched; -1: never",
      labelNames: ['issuer'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [issuer, ageMs] of read.ages())
          this.set({ issuer }, ageMs === Infinity ? -1 : ageMs / 1000);
      },
    });
  }
}

export interface AccessNumbers {
  readonly hashed: () => number;
  readonly verified: () => number;
  readonly keys: () => number;
  readonly knownKeys: () => number;
  readonly knownTokens: () => number;
  readonly refused: () => number;
  readonly waiting: () => number;
  readonly ages: () => Iterable<[issuer: string, ageMs: number]>;
}
