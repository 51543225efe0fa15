/** Those of KServe's agent; `timeout`, which it reads and never uses, is here the time that a batch may take. */
export const batcherDefaults = { maxBatchSize: 32, maxLatencyMs: 5_000, timeoutMs: 60_000 } as const;
