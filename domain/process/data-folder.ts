/**
 * Where each process keeps its files inside the one data folder (`MUSTER_DATA_DIR`, default `~/.muster`).
 * Named here once, because several processes meet in it: the parent makes the tokens, all others read them.
 */
export interface DataFolder {
  readonly root: string;
  /** Bearer token of people and the CLI; a file of mode 0600. */
  readonly token: string;
  /** Bearer token of Muster's own processes for the /internal routes; mode 0600. */
  readonly internalToken: string;
  /** Which embedded parent owns the folder, and its children: JSON. */
  readonly run: string;
  /** One log file a process. */
  readonly logs: string;
  /** PGlite's own folder, opened by the control API alone. */
  readonly store: string;
  /** SQLite file of Temporal's dev server. */
  readonly temporalDatabase: string;
  /** Programs that Muster fetched (the Temporal CLI). */
  readonly programs: string;
  /** Workflow bundles by hash of their sources. */
  readonly bundles: string;
  /** Bytes of uploaded files and of batches' outputs, by id. */
  readonly files: string;
  /** The gateway's last good route table. */
  readonly routeTable: string;
  /** Journals of budget leases of gateways without Redis. */
  readonly budgets: string;
  /** Usage records of gateways on their way to the ledger. */
  readonly usage: string;
  /** The node agent's desired replicas and what it started. */
  readonly agent: string;
  /** Logs of model servers: <modelLogs>/<namespace>/<name>/<revision>-<index>.log */
  readonly modelLogs: string;
  /** Downloaded models by digest of their source. */
  readonly models: string;
  /** Made environments (python virtual environments) by digest of their requirements. */
  readonly environments: string;
}

export function dataFolder(root: string): DataFolder {
  return {
    root,
    token: `${root}/token`,
    internalToken: `${root}/internal-token`,
    run: `${root}/run`,
    logs: `${root}/logs`,
    store: `${root}/store`,
    temporalDatabase: `${root}/temporal/temporal.db`,
    programs: `${root}/programs`,
    bundles: `${root}/bundles`,
    files: `${root}/files`,
    routeTable: `${root}/gateway/route-table.json`,
    budgets: `${root}/gateway/budgets`,
    usage: `${root}/gateway/usage`,
    agent: `${root}/agent`,
    modelLogs: `${root}/model-logs`,
    models: `${root}/models`,
    environments: `${root}/environments`,
  };
}
