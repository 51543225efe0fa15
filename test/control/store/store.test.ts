import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { EventRecord, RevisionRecord } from '../../../domain/inference-service/messages.ts';
import { eventsMax, revisionsMax } from '../../../control/store/records.ts';
import type { Store } from '../../../control/store/store.ts';
import { openTemporaryStore } from '../../fixtures/control/api-harness.ts';
import {
  assignment,
  clusterRuntime,
  nodeReport,
  replica,
  service,
} from '../../fixtures/control/manifests.ts';

let store: Store;
let close: () => Promise<void>;
beforeAll(async () => {
  ({ store, close } = await openTemporaryStore());
});
afterAll(async () => {
  await close();
});

const at = (name: string, generation: number, uri = 'file:///m') => {
  const object = service(name, uri, 'default');
  return { ...object, metadata: { ...object.metadata, generation } };
};
const accepted = (name: string, generation: number, generationBefore: number, uri?: string) => ({
  object: at(name, generation, uri),
  generation,
  generationBefore,
});
const status = { observedGeneration: 1, url: 'http://x' };

describe('services', () => {
  test('an accepted service is read back as it was written, in the order of its fields', async () => {
    await store.services.accept(accepted('order', 1, 0));
    const stored = await store.services.get('default', 'order');
    expect(JSON.stringify(stored?.object)).toBe(JSON.stringify(at('order', 1)));
    expect(stored?.phase).toBe('Pending');
    expect(await store.services.get('default', 'absent')).toBeNull();
    expect(await store.services.get('other', 'order')).toBeNull();
  });

  test('accepting a change keeps the status until the workflow publishes a new one', async () => {
    await store.services.accept(accepted('keep', 1, 0));
    await store.services.publish({ ...at('keep', 1), status }, 'Ready');
    const next = await store.services.accept(accepted('keep', 2, 1, 'file:///new'));
    expect(next).toMatchObject({ generation: 2, phase: 'Ready', object: { status } });
    expect(next.object.spec.predictor.model?.storageUri).toBe('file:///new');
  });

  test('an older generation never overwrites a newer one', async () => {
    await store.services.publish(at('guard', 3), 'Ready');
    expect(await store.services.publish(at('guard', 2), 'Failed')).toBe(false);
    expect(await store.services.get('default', 'guard')).toMatchObject({ generation: 3, phase: 'Ready' });
    expect(await store.services.publish(at('guard', 3), 'Degraded')).toBe(true);
    expect(await store.services.get('default', 'guard')).toMatchObject({ phase: 'Degraded' });
  });

  test('an acceptance that comes late does not undo a later one', async () => {
    await store.services.accept(accepted('late', 3, 1, 'file:///three'));
    const stored = await store.services.accept(accepted('late', 2, 1, 'file:///two'));
    expect(stored).toMatchObject({ generation: 3 });
    expect(stored.object.spec.predictor.model?.storageUri).toBe('file:///three');
  });

  test('a workflow that began anew counts from its own generation', async () => {
    await store.services.publish(at('anew', 7), 'Ready');
    expect(await store.services.accept(accepted('anew', 1, 7))).toMatchObject({ generation: 1 });
    expect(await store.services.publish(at('anew', 1), 'Ready')).toBe(true);
  });

  test('the time of deletion stays until the service is forgotten', async () => {
    await store.services.publish(at('gone', 1), 'Ready');
    const time = '2026-01-01T00:00:00Z';
    const marked = await store.services.markDeleting('default', 'gone', time);
    expect(marked).toMatchObject({ phase: 'Deleting', object: { metadata: { deletionTimestamp: time } } });
    await store.services.publish(at('gone', 1), 'Deleting');
    await store.services.markDeleting('default', 'gone', '2027-01-01T00:00:00Z');
    expect((await store.services.get('default', 'gone'))?.object.metadata['deletionTimestamp']).toBe(time);
    await store.services.forget('default', 'gone');
    expect(await store.services.get('default', 'gone')).toBeNull();
    expect(await store.services.markDeleting('default', 'gone', time)).toBeNull();
    await store.services.forget('default', 'gone');
  });

  test('lists are sorted, of one namespace or of all', async () => {
    await store.services.publish(
      { ...at('b', 1), metadata: { ...at('b', 1).metadata, namespace: 'list' } },
      'Ready',
    );
    await store.services.publish(
      { ...at('a', 1), metadata: { ...at('a', 1).metadata, namespace: 'list' } },
      'Ready',
    );
    const names = (await store.services.list('list')).map(({ object }) => object.metadata.name);
    expect(names).toEqual(['a', 'b']);
    expect((await store.services.list()).length).toBeGreaterThan(2);
  });

  test('concurrent writers of one service leave the newest generation', async () => {
    const generations = [4, 9, 2, 7, 1, 8];
    await Promise.all(
      generations.map((generation) => store.services.publish(at('race', generation), 'Ready')),
    );
    expect(await store.services.get('default', 'race')).toMatchObject({ generation: 9 });
  });
});

describe('events', () => {
  const event = (name: string, message: string, second: number): EventRecord => ({
    namespace: 'default',
    name,
    type: 'Normal',
    reason: 'Test',
    message,
    time: new Date(second * 1000).toISOString(),
  });

  test('equal consecutive events are one with a count, and a repeated call is not counted', async () => {
    for (const [message, second] of [
      ['up', 1],
      ['up', 2],
      ['up', 2],
      ['down', 3],
      ['up', 4],
    ] as const) {
      await store.records.addEvent(event('count', message, second));
    }
    await store.records.addEvent(event('count', 'down', 3));
    const listed = await store.records.events('default', 'count');
    expect(listed.map(({ message, count }) => [message, count])).toEqual([
      ['up', 1],
      ['down', 1],
      ['up', 2],
    ]);
    expect(listed[2]).toMatchObject({
      firstTime: '1970-01-01T00:00:01.000Z',
      lastTime: '1970-01-01T00:00:02.000Z',
    });
  });

  test('any text that a server printed can be kept', async () => {
    const message = 'bad \u0000 byte, \ud83d half a character, "quotes" and ☃';
    await store.records.putRevision({ ...record('text', 1), message });
    expect((await store.records.revisions('default', 'text'))[0]?.message).toContain('☃');
    await store.records.addEvent(event('text', 'nul \u0000 inside', 1));
    expect((await store.records.events('default', 'text'))[0]?.message).toContain('inside');
  });

  test('only the newest are kept of each service', async () => {
    await store.records.addEvent(event('quiet', 'stays', 1));
    for (let i = 0; i < eventsMax + 5; i++) await store.records.addEvent(event('noisy', `event ${i}`, i));
    const listed = await store.records.events('default', 'noisy');
    expect(listed).toHaveLength(eventsMax);
    expect(listed[0]?.message).toBe(`event ${eventsMax + 4}`);
    expect(await store.records.events('default', 'quiet')).toHaveLength(1);
  });
});

const record = (name: string, generation: number): RevisionRecord => ({
  namespace: 'default',
  name,
  generation,
  revision: `${name}-predictor-${String(generation).padStart(5, '0')}`,
  runtime: 'muster-onnx',
  modelUri: 'file:///m',
  startedAt: '2026-01-01T00:00:00Z',
  finishedAt: null,
  outcome: 'InProgress',
  message: '',
});

describe('revisions', () => {
  test('a later word about a revision replaces the earlier one', async () => {
    await store.records.putRevision(record('rev', 1));
    await store.records.putRevision({ ...record('rev', 1), outcome: 'Serving' });
    expect(await store.records.revisions('default', 'rev')).toEqual([
      { ...record('rev', 1), outcome: 'Serving' },
    ]);
  });

  test('only the newest are kept, newest first', async () => {
    for (let i = 1; i <= revisionsMax + 3; i++) await store.records.putRevision(record('many', i));
    const listed = await store.records.revisions('default', 'many');
    expect(listed).toHaveLength(revisionsMax);
    expect(listed[0]?.generation).toBe(revisionsMax + 3);
  });

  test('what is left of services that are gone is swept', async () => {
    await store.services.publish(at('alive', 1), 'Ready');
    await store.records.putRevision(record('alive', 1));
    await store.records.putRevision(record('dead', 1));
    await store.records.sweep();
    expect(await store.records.revisions('default', 'alive')).toHaveLength(1);
    expect(await store.records.revisions('default', 'dead')).toHaveLength(0);
  });
});

describe('runtimes', () => {
  test('the version grows with each change, and only then', async () => {
    const before = await store.runtimes.version();
    expect(await store.runtimes.put(clusterRuntime('one', 'onnx'))).toBe('created');
    expect(await store.runtimes.put(clusterRuntime('one', 'onnx'))).toBe('unchanged');
    expect(await store.runtimes.put(clusterRuntime('one', 'sklearn'))).toBe('configured');
    expect(await store.runtimes.remove(null, 'one')).toBe(true);
    expect(await store.runtimes.remove(null, 'one')).toBe(false);
    expect(await store.runtimes.version()).toBe(before + 3);
  });

  test('a namespace sees its own runtimes and those of the cluster', async () => {
    await store.runtimes.put(clusterRuntime('shared', 'onnx'));
    const own = clusterRuntime('own', 'onnx');
    await store.runtimes.put({
      ...own,
      kind: 'ServingRuntime',
      metadata: { name: 'own', namespace: 'team' },
    });
    const mine = await store.runtimes.lists('team');
    expect(mine.servingRuntimes.map(({ metadata }) => metadata.name)).toEqual(['own']);
    expect(mine.clusterServingRuntimes.map(({ metadata }) => metadata.name)).toEqual(['shared']);
    expect((await store.runtimes.lists('other')).servingRuntimes).toEqual([]);
    expect(await store.runtimes.get('team', 'own')).not.toBeNull();
    expect(await store.runtimes.get(null, 'own')).toBeNull();
  });
});

describe('routing', () => {
  test('the version of the table never goes back', async () => {
    await store.routing.saveVersion({ version: 5, contentHash: 'five' });
    await store.routing.saveVersion({ version: 4, contentHash: 'four' });
    expect(await store.routing.version()).toEqual({ version: 5, contentHash: 'five' });
  });

  test('assignments and reports are replaced by key', async () => {
    const iris = assignment('iris', [{ revision: 'r1', percent: 100 }]);
    await store.routing.putAssignment(iris);
    await store.routing.putAssignment({ ...iris, generation: 2 });
    expect(await store.routing.assignments()).toEqual([{ ...iris, generation: 2 }]);
    await store.routing.removeAssignment('default', 'iris');
    expect(await store.routing.assignments()).toEqual([]);
    await store.routing.saveReport(nodeReport('a', []));
    await store.routing.saveReport(nodeReport('a', [replica('iris', 'r1', 1)]));
    expect(await store.routing.reports()).toEqual([nodeReport('a', [replica('iris', 'r1', 1)])]);
  });
});
