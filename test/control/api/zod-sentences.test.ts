import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { editDistance, nearest } from '../../../control/api/nearest.ts';
import { sentences } from '../../../control/api/zod-sentences.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { service } from '../../fixtures/control/manifests.ts';

/** The sentences about a service whose predictor (or whose whole manifest) is changed so. */
function about(predictor: object, manifest: object = {}): string[] {
  const good = service('iris');
  const input = { ...good, spec: { predictor: { ...good.spec.predictor, ...predictor } }, ...manifest };
  const result = InferenceService.safeParse(input);
  return result.success
    ? []
    : sentences(InferenceService, input, result.error.issues).map(({ message }) => message);
}

describe('sentences about a wrong manifest', () => {
  test.each<[string, object, object, string[]]>([
    ['nothing wrong', {}, {}, []],
    [
      'a string for a number',
      { minReplicas: 'two' },
      {},
      ['spec.predictor.minReplicas must be a number, not "two"'],
    ],
    [
      'half a replica',
      { minReplicas: 1.5 },
      {},
      ['spec.predictor.minReplicas must be a whole number, not 1.5'],
    ],
    [
      'a word that is not allowed',
      { scaleMetric: 'qps' },
      {},
      ['spec.predictor.scaleMetric must be one of "cpu", "memory", "concurrency", "rps", not "qps"'],
    ],
    [
      'a typing error inside a list',
      { containers: [{ name: 'a', comand: [] }] },
      {},
      [
        'spec.predictor.containers[0].comand is not a known field; did you mean spec.predictor.containers[0].command?',
      ],
    ],
    ['a field like no other', { qqqqqq: 1 }, {}, ['spec.predictor.qqqqqq is not a known field']],
    [
      'another spelling',
      { min_replicas: 1 },
      {},
      ['spec.predictor.min_replicas is not a known field; did you mean spec.predictor.minReplicas?'],
    ],
    ['no spec', {}, { spec: undefined }, ['spec is missing: it must be an object']],
    ['another kind', {}, { kind: 'Pod' }, ['kind must be "InferenceService", not "Pod"']],
    ['a name that is empty', {}, { metadata: { name: '' } }, ['metadata.name must not be empty']],
    [
      'a label that is no text',
      {},
      { metadata: { name: 'iris', labels: { 'a.b/c': 1 } } },
      ['metadata.labels["a.b/c"] must be a string, not 1'],
    ],
  ])('%s', (_case, predictor, manifest, expected) => {
    expect(about(predictor, manifest)).toEqual(expected);
  });

  test('any body at all has a sentence, and never too many', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (input) => {
        const result = InferenceService.safeParse(input);
        const fields = sentences(InferenceService, input, result.error?.issues ?? []);
        expect(fields.length).toBeGreaterThan(0);
        expect(fields.length).toBeLessThanOrEqual(20);
      }),
    );
  });
});

describe('nearest', () => {
  test('takes swapped letters for one mistake', () => {
    expect(editDistance('modle', 'model')).toBe(1);
    expect(nearest('modle', ['model', 'mode'])).toBe('model');
  });

  test('finds any known name again after one wrong letter', () => {
    const known = ['storageUri', 'minReplicas', 'containerConcurrency', 'transformer'];
    fc.assert(
      fc.property(fc.constantFrom(...known), fc.nat(), (name, at) => {
        const i = at % name.length;
        expect(nearest(`${name.slice(0, i)}~${name.slice(i + 1)}`, known)).toBe(name);
      }),
    );
  });

  test('is a distance: symmetric, and zero only between equals', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a));
        expect(editDistance(a, b) === 0).toBe(a === b);
      }),
    );
    expect(editDistance('a'.repeat(65), 'a')).toBe(Number.POSITIVE_INFINITY);
  });
});
