import type { Migration } from './migrate.ts';

/**
 * The store's shape, forward only. A released migration is never edited: a change is a new one at the end.
 *
 * Objects are `json`, not `jsonb`: it keeps the order of fields as the user wrote them and any text that a server
 * may print, and nothing is searched inside them.
 */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    title: 'the registry: services, runtimes, events, history',
    statements: [
      `CREATE TABLE inference_services (
        namespace text NOT NULL,
        name text NOT NULL,
        generation integer NOT NULL,
        phase text NOT NULL,
        object json NOT NULL,
        status json,
        PRIMARY KEY (namespace, name)
      )`,
      // Namespace '' holds the cluster's own runtimes.
      `CREATE TABLE serving_runtimes (
        namespace text NOT NULL,
        name text NOT NULL,
        object json NOT NULL,
        PRIMARY KEY (namespace, name)
      )`,
      `CREATE TABLE events (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        namespace text NOT NULL,
        name text NOT NULL,
        type text NOT NULL,
        reason text NOT NULL,
        message text NOT NULL,
        count integer NOT NULL,
        first_time text NOT NULL,
        last_time text NOT NULL
      )`,
      'CREATE INDEX events_by_service ON events (namespace, name, id)',
      `CREATE TABLE revisions (
        namespace text NOT NULL,
        name text NOT NULL,
        revision text NOT NULL,
        generation integer NOT NULL,
        record json NOT NULL,
        PRIMARY KEY (namespace, name, revision)
      )`,
    ],
  },
  {
    version: 2,
    title:
      'routing: assignments, the version of the table, what nodes said last, and which stock runtimes came in',
    statements: [
      `CREATE TABLE route_assignments (
        namespace text NOT NULL,
        name text NOT NULL,
        assignment json NOT NULL,
        PRIMARY KEY (namespace, name)
      )`,
      `CREATE TABLE route_version (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        version integer NOT NULL,
        content_hash text NOT NULL
      )`,
      `INSERT INTO route_version (version, content_hash) VALUES (0, '')`,
      `CREATE TABLE node_reports (
        node text PRIMARY KEY,
        report json NOT NULL
      )`,
      `CREATE TABLE stock_runtimes (
        name text PRIMARY KEY,
        hash text NOT NULL
      )`,
      `CREATE TABLE runtimes_version (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        version integer NOT NULL
      )`,
      // A store of version 1 may hold runtimes already; those count as the first change.
      'INSERT INTO runtimes_version (version) SELECT count(*)::integer FROM serving_runtimes',
    ],
  },
  {
    version: 3,
    title: 'who may ask: API keys by their hash, and the policy of the gateways',
    statements: [
      // The key itself is nowhere: its holder alone has it.
      `CREATE TABLE api_keys (
        id text PRIMARY KEY,
        sha256 text NOT NULL UNIQUE,
        record json NOT NULL,
        created_at text NOT NULL,
        expires_at text,
        revoked_at text
      )`,
      `CREATE TABLE gateway_policies (
        name text PRIMARY KEY,
        object json NOT NULL
      )`,
    ],
  },
  {
    version: 4,
    title: 'files and batches',
    statements: [
      `CREATE TABLE files (
        id text PRIMARY KEY,
        tenant text NOT NULL,
        object json NOT NULL,
        purpose text NOT NULL,
        bytes bigint NOT NULL,
        expires_at bigint
      )`,
      'CREATE INDEX files_by_tenant ON files (tenant, id)',
      `CREATE TABLE batches (
        id text PRIMARY KEY,
        tenant text NOT NULL,
        caller json NOT NULL,
        object json NOT NULL,
        status text NOT NULL,
        created_at bigint NOT NULL
      )`,
      'CREATE INDEX batches_by_tenant ON batches (tenant, id)',
      // One result a line: the first one that came.
      `CREATE TABLE batch_results (
        batch_id text NOT NULL,
        line integer NOT NULL,
        ok boolean NOT NULL,
        text text NOT NULL,
        PRIMARY KEY (batch_id, line)
      )`,
    ],
  },
  {
    version: 5,
    title: 'the ledger: what requests used, their sums, and what budgets were drawn on',
    statements: [
      // In the order of the gateways' records: they are inserted as they come.
      `CREATE TABLE usage_ledger (
        gateway text NOT NULL,
        seq bigint NOT NULL,
        request_id text NOT NULL,
        at bigint NOT NULL,
        key text NOT NULL,
        tenant text NOT NULL,
        namespace text NOT NULL,
        service text NOT NULL,
        model text NOT NULL,
        input_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        cost_micros bigint NOT NULL,
        currency text NOT NULL,
        estimated boolean NOT NULL,
        budgets json NOT NULL,
        PRIMARY KEY (gateway, seq)
      )`,
      'CREATE INDEX usage_ledger_by_time ON usage_ledger (at)',
      `CREATE TABLE usage_hours (
        hour bigint NOT NULL,
        key text NOT NULL,
        tenant text NOT NULL,
        namespace text NOT NULL,
        service text NOT NULL,
        model text NOT NULL,
        currency text NOT NULL,
        requests bigint NOT NULL,
        estimated bigint NOT NULL,
        input_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        cost_micros bigint NOT NULL,
        PRIMARY KEY (hour, key, tenant, namespace, service, model, currency)
      )`,
      `CREATE TABLE budget_spent (
        budget_window text NOT NULL,
        gateway text NOT NULL,
        tokens bigint NOT NULL,
        micros bigint NOT NULL,
        PRIMARY KEY (budget_window, gateway)
      )`,
      `CREATE TABLE budget_shares (
        budget_window text NOT NULL,
        gateway text NOT NULL,
        budget text NOT NULL,
        end_ms bigint,
        limit_tokens bigint,
        limit_micros bigint,
        granted_tokens bigint NOT NULL,
        granted_micros bigint NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (budget_window, gateway)
      )`,
    ],
  },
  {
    version: 6,
    title: 'the input of batches as a column',
    // A batch's metadata may hold escapes that Postgres does not read: nothing of the object is looked up in SQL.
    statements: [
      "ALTER TABLE batches ADD COLUMN input_file_id text NOT NULL DEFAULT ''",
      `UPDATE batches SET input_file_id = coalesce(substring(object::text from '"input_file_id":"([^"]*)"'), '')`,
      'CREATE INDEX batches_by_input ON batches (input_file_id)',
    ],
  },
];
