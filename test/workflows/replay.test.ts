import { readFileSync, readdirSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { bundleWorkflows } from '../../workers/bundle.ts';
import type { WorkflowBundle } from '../../workers/bundle.ts';

const folder = new URL('../histories/', import.meta.url);
const histories = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.json'),
);
const pinned = {
  inferenceService: [
    ...['deploy', 'update', 'failed-load', 'stop-start', 'delete', 'delete-mid-attempt', 'continue-as-new'],
    ...['continued', 'restore', 'superseded', 'sleep-wake'],
  ],
  batchJob: ['complete', 'invalid', 'continue-as-new', 'cancel', 'expire'],
  ledger: ['settle', 'retry'],
};

/**
 * Running entities outlive any build: each recorded history must run through the present code exactly as it did.
 * A history that does not replay means that the change needs `patched()`; histories are added, never edited.
 */
describe('the present workflows', () => {
  let bundle: WorkflowBundle;

  beforeAll(async () => {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    bundle = await bundleWorkflows({ logger: new DefaultLogger('ERROR') });
  }, 60_000);

  const replay = (code: string, file: string): Promise<void> => {
    const history: unknown = JSON.parse(readFileSync(new URL(file, folder), 'utf8'));
    return Worker.runReplayHistory({ workflowBundle: { code } }, history);
  };

  test.each(histories)('replay %s', async (file) => {
    await expect(replay(bundle.code, file)).resolves.toBeUndefined();
  });

  test.each(Object.entries(pinned))('have a history for each way of life of %s', (workflow, names) => {
    expect(histories).toEqual(expect.arrayContaining(names.map((name) => `${workflow}/${name}.json`)));
  });

  const reaching = /await \(0,\w+\.reachGateways\)\(entity, this\.version\);/;
  const [service, batch, ledger] = [
    'inferenceService/deploy.json',
    'batchJob/complete.json',
    'ledger/settle.json',
  ];
  test.each([
    { change: 'calls another activity', file: service, from: /\.resolveRuntime\(/, to: '.awaitNode(' },
    { change: 'leaves a step out', file: service, from: reaching, to: '' },
    { change: 'does a step twice', file: service, from: reaching, to: '$&$&' },
    { change: 'asks a batch otherwise', file: batch, from: /\bbatchRun\(lines\)/, to: 'batchOpen(lines)' },
    { change: 'settles twice', file: ledger, from: /await ledgerSettle\(\)/, to: '$&; await ledgerSettle()' },
  ])('are found out when a change $change', async ({ file, from, to }) => {
    const changed = bundle.code.replace(from, to);
    expect(changed).not.toBe(bundle.code);
    await expect(replay(changed, file)).rejects.toThrow(/[Nn]ondeterminism/);
  });

  test('carry no zod, which would add a megabyte to each of them', () => {
    expect(bundle.code).not.toMatch(/node_modules\/zod/);
    expect(bundle.code).not.toContain('ZodError');
  });
});
