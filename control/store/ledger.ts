import type { UsageGroup } from '../../domain/usage/groups.ts';
import type {
  BudgetState,
  UsageRecord,
  UsageReport,
  UsageSum,
  WindowSpending,
} from '../../domain/usage/usage-record.schema.ts';
import type { Database, Queries, Row } from './database.ts';
import { withoutNul } from './database.ts';

/** What requests used and cost: each once, by the name that its gateway gave it. */
export interface Ledger {
  /** @returns how many records were new */
  add(report: UsageReport, nowMs: number): Promise<number>;
  /** Sums over [since, until), milliseconds since 1970, whole hours; the dearest first. */
  sums(by: UsageGroup, since: number, until: number): Promise<UsageSum[]>;
  /** Of windows that have not ended; the limits are those that a gateway told last. */
  budgets(nowMs: number): Promise<BudgetState[]>;
  /**
   * Windows that ended after `since` or have not, or of which no gateway has said when they end, in the order of their
   * names, from one on.
   */
  spending(since: number, after: string, limit: number): Promise<WindowSpending[]>;
  /**
   * Forgets single records older than `before`, budgets that ended before, and shares of endless ones that were last
   * told before; sums stay, and what was spent of endless budgets. @returns records
   */
  prune(before: number): Promise<number>;
}

const hourMs = 3_600_000;
/** Gateways tell their shares every few seconds; what one holds that is silent for so long is on its way back. */
const silentMs = 120_000;
const recordColumns = `seq bigint, "requestId" text, at bigint, key text, tenant text, namespace text, service text,
  model text, "inputTokens" bigint, "cachedInputTokens" bigint, "outputTokens" bigint, "costMicros" bigint,
  currency text, estimated boolean, budgets json`;

/**
 * One statement: records that are new go into the ledger, and only those are added to the sums and the budgets. A
 * report that comes twice, or twice at once, counts once.
 */
const addRecords = `
  WITH added AS (
    INSERT INTO usage_ledger
    SELECT $1, r.* FROM json_to_recordset($2::json) AS r (${recordColumns})
    ON CONFLICT (gateway, seq) DO NOTHING
    RETURNING *
  ), hours AS (
    INSERT INTO usage_hours
    SELECT at / ${hourMs} * ${hourMs}, key, tenant, namespace, service, model, currency, count(*),
      count(*) FILTER (WHERE estimated), sum(input_tokens), sum(cached_input_tokens), sum(output_tokens),
      sum(cost_micros)
    FROM added GROUP BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (hour, key, tenant, namespace, service, model, currency) DO UPDATE SET
      requests = usage_hours.requests + excluded.requests,
      estimated = usage_hours.estimated + excluded.estimated,
      input_tokens = usage_hours.input_tokens + excluded.input_tokens,
      cached_input_tokens = usage_hours.cached_input_tokens + excluded.cached_input_tokens,
      output_tokens = usage_hours.output_tokens + excluded.output_tokens,
      cost_micros = usage_hours.cost_micros + excluded.cost_micros
  ), spent AS (
    INSERT INTO budget_spent
    SELECT account.value, $1, sum(input_tokens + output_tokens), sum(cost_micros)
    FROM added, json_array_elements_text(budgets) AS account GROUP BY 1
    ON CONFLICT (budget_window, gateway) DO UPDATE SET
      tokens = budget_spent.tokens + excluded.tokens, micros = budget_spent.micros + excluded.micros
  )
  SELECT count(*) AS added FROM added`;

/**
 * A page costs what lies between its first and its last name, whatever else the tables hold: both lists go from name to
 * name by the primary key, since without statistics, as in the embedded store, the planner would sort all names for
 * each page. `untold`, windows of which nothing but spending is known, ends where the page does.
 */
const spendingPage = `
  WITH RECURSIVE told AS (
    SELECT 0::bigint AS nth, $2::text AS name
    UNION ALL
    SELECT nth + 1, (SELECT budget_window FROM budget_shares
      WHERE budget_window > name AND (end_ms IS NULL OR end_ms > $1) ORDER BY budget_window LIMIT 1)
    FROM told WHERE nth < $3 AND name IS NOT NULL
  ), reach AS MATERIALIZED (
    SELECT COALESCE((SELECT name FROM told WHERE nth = $3), max(budget_window)) AS last FROM budget_spent
  ), untold AS (
    SELECT 0::bigint AS nth, $2::text AS name
    UNION ALL
    SELECT nth + 1, (SELECT budget_window FROM budget_spent b
      WHERE budget_window > name AND budget_window <= (SELECT last FROM reach) AND NOT COALESCE(
        (SELECT true FROM budget_shares s WHERE s.budget_window = b.budget_window LIMIT 1), false)
      ORDER BY budget_window LIMIT 1)
    FROM untold WHERE nth < $3 AND name IS NOT NULL
  )
  SELECT name AS budget_window,
    (SELECT max(end_ms) FROM budget_shares WHERE budget_window = name) AS end_ms,
    (SELECT COALESCE(json_agg(json_build_object('gateway', gateway, 'tokens', tokens, 'micros', micros)
      ORDER BY gateway), '[]') FROM budget_spent WHERE budget_window = name) AS spent
  FROM (SELECT nth, name FROM told UNION ALL SELECT nth, name FROM untold) names
  WHERE nth > 0 AND name IS NOT NULL ORDER BY name LIMIT $3`;

export function ledgerIn(database: Database): Ledger {
  return {
    add: (report, nowMs) => database.transaction((queries) => add(queries, report, nowMs)),
    async sums(by, since, until) {
      const rows = await database.query(
        `SELECT ${groupOf[by]} AS name, currency, sum(requests) AS requests, sum(estimated) AS estimated,
           sum(input_tokens) AS input, sum(cached_input_tokens) AS cached, sum(output_tokens) AS output,
           sum(cost_micros) AS cost
         FROM usage_hours WHERE hour >= $1 AND hour < $2 GROUP BY 1, 2 ORDER BY cost DESC, input DESC, name`,
        [since, until],
      );
      return rows.map(sumOf);
    },
    async budgets(nowMs) {
      const rows = await database.query(
        `SELECT s.budget_window, max(s.budget) AS budget, max(s.end_ms) AS end_ms,
           (array_agg(s.limit_tokens ORDER BY s.at DESC))[1] AS limit_tokens,
           (array_agg(s.limit_micros ORDER BY s.at DESC))[1] AS limit_micros,
           sum(GREATEST(s.granted_tokens - COALESCE(t.tokens, 0), 0)) FILTER (WHERE s.at > $2) AS leased_tokens,
           sum(GREATEST(s.granted_micros - COALESCE(t.micros, 0), 0)) FILTER (WHERE s.at > $2) AS leased_micros,
           (SELECT COALESCE(sum(tokens), 0) FROM budget_spent b WHERE b.budget_window = s.budget_window) AS tokens,
           (SELECT COALESCE(sum(micros), 0) FROM budget_spent b WHERE b.budget_window = s.budget_window) AS micros
         FROM budget_shares s LEFT JOIN budget_spent t USING (budget_window, gateway)
         WHERE s.end_ms IS NULL OR s.end_ms > $1
         GROUP BY s.budget_window ORDER BY s.budget_window`,
        [nowMs, nowMs - silentMs],
      );
      return rows.map(budgetOf);
    },
    async spending(since, after, limit) {
      const rows = await database.query(spendingPage, [since, after, limit]);
      return rows.map((row) => ({
        window: String(row['budget_window']),
        endMs: row['end_ms'] === null ? null : Number(row['end_ms']),
        spent: row['spent'] as WindowSpending['spent'],
      }));
    },
    prune: (before) =>
      database.transaction(async (queries) => {
        const rows = await queries.query('DELETE FROM usage_ledger WHERE at < $1 RETURNING 1', [before]);
        await queries.query(
          `DELETE FROM budget_spent WHERE budget_window IN
             (SELECT budget_window FROM budget_shares GROUP BY 1 HAVING max(end_ms) < $1)`,
          [before],
        );
        await queries.query('DELETE FROM budget_shares WHERE end_ms < $1 OR (end_ms IS NULL AND at < $1)', [
          before,
        ]);
        await queries.query(foldGone, [goneGateway]);
        return rows.length;
      }),
  };
}

/** Stands for all gateways of which nothing is kept but what they spent: no gateway is called so. */
const goneGateway = '(gone)';

/**
 * Budgets without end would keep a row for each process that ever spent of them. Those that hold no share, and of which
 * no record is kept, have been silent for so long that every book has forgotten them: their sum says as much.
 */
const foldGone = `
  WITH gone AS (
    DELETE FROM budget_spent t
    WHERE gateway <> $1
      AND NOT EXISTS (SELECT 1 FROM budget_shares s
        WHERE s.budget_window = t.budget_window AND s.gateway = t.gateway)
      AND NOT EXISTS (SELECT 1 FROM usage_ledger u WHERE u.gateway = t.gateway)
    RETURNING budget_window, tokens, micros
  )
  INSERT INTO budget_spent
  SELECT budget_window, $1, sum(tokens), sum(micros) FROM gone GROUP BY budget_window
  ON CONFLICT (budget_window, gateway) DO UPDATE SET
    tokens = budget_spent.tokens + excluded.tokens, micros = budget_spent.micros + excluded.micros`;

async function add(queries: Queries, report: UsageReport, nowMs: number): Promise<number> {
  const gateway = withoutNul(report.gateway);
  let added = 0;
  if (report.records.length > 0) {
    const [row] = await queries.query(addRecords, [gateway, JSON.stringify(report.records.map(clean))]);
    added = Number(row?.['added'] ?? 0);
  }
  if (report.shares.length > 0) {
    await queries.query(
      `INSERT INTO budget_shares
       SELECT "window", $1, budget, "endMs", "limitTokens", "limitMicros", "grantedTokens", "grantedMicros", $3
       FROM json_to_recordset($2::json) AS r ("window" text, budget text, "endMs" bigint, "limitTokens" bigint,
         "limitMicros" bigint, "grantedTokens" bigint, "grantedMicros" bigint)
       ON CONFLICT (budget_window, gateway) DO UPDATE SET budget = excluded.budget, end_ms = excluded.end_ms,
         limit_tokens = excluded.limit_tokens, limit_micros = excluded.limit_micros,
         granted_tokens = excluded.granted_tokens, granted_micros = excluded.granted_micros, at = excluded.at`,
      [gateway, JSON.stringify(report.shares.map(cleanWindow)), nowMs],
    );
  }
  return added;
}

const groupOf = {
  tenant: 'tenant',
  key: 'key',
  model: 'model',
  service: `namespace || '/' || service`,
  day: `to_char(to_timestamp(hour / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')`,
} as const;

/** Texts inside JSON are not seen by what cleans the values of a statement. */
function clean(record: UsageRecord): UsageRecord {
  return {
    ...record,
    requestId: withoutNul(record.requestId),
    key: withoutNul(record.key),
    tenant: withoutNul(record.tenant),
    model: withoutNul(record.model),
    budgets: record.budgets.map(withoutNul),
  };
}

function cleanWindow<T extends { readonly window: string }>(share: T): T {
  return { ...share, window: withoutNul(share.window) };
}

function sumOf(row: Row): UsageSum {
  return {
    group: String(row['name']),
    currency: String(row['currency']),
    requests: Number(row['requests']),
    estimated: Number(row['estimated']),
    inputTokens: Number(row['input']),
    cachedInputTokens: Number(row['cached']),
    outputTokens: Number(row['output']),
    costMicros: Number(row['cost']),
  };
}

function budgetOf(row: Row): BudgetState {
  const name = String(row['budget_window']);
  const bar = name.lastIndexOf('|');
  const [limitTokens, limitCostMicros] = [numberOf(row['limit_tokens']), numberOf(row['limit_micros'])];
  const [spentTokens, spentCostMicros] = [Number(row['tokens']), Number(row['micros'])];
  const leasedTokens = limitTokens === null ? 0 : (numberOf(row['leased_tokens']) ?? 0);
  const leasedCostMicros = limitCostMicros === null ? 0 : (numberOf(row['leased_micros']) ?? 0);
  const endMs = numberOf(row['end_ms']);
  return {
    budget: String(row['budget']),
    account: name.slice(0, bar),
    window: name.slice(bar + 1),
    endsAt: endMs === null ? null : new Date(endMs).toISOString(),
    limitTokens,
    limitCostMicros,
    spentTokens,
    spentCostMicros,
    leasedTokens,
    leasedCostMicros,
    leftTokens: limitTokens === null ? null : Math.max(0, limitTokens - spentTokens - leasedTokens),
    leftCostMicros:
      limitCostMicros === null ? null : Math.max(0, limitCostMicros - spentCostMicros - leasedCostMicros),
  };
}

function numberOf(value: unknown): number | null {
  return value === null || value === undefined ? null : Number(value);
}
