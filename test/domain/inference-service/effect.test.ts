import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { fieldsWithoutEffect } from '../../../domain/inference-service/effect.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import type { Predictor } from '../../../domain/inference-service/inference-service.schema.ts';
import { serviceOf, serviceWith } from '../../fixtures/domain/objects.ts';

interface Schema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly additionalProperties?: Schema | boolean;
}

const schema = z.toJSONSchema(InferenceService, { io: 'input', unrepresentable: 'any' }) as Schema;

/** One leaf of the schema: its path as the report writes it, and the spec that sets it alone. */
interface Leaf {
  readonly path: string;
  readonly spec: unknown;
}

/** Every leaf below a schema; lists get one entry, maps one key. */
function leaves(node: Schema, path: string, wrap: (value: unknown) => unknown): Leaf[] {
  if (node.properties !== undefined) {
    return Object.entries(node.properties).flatMap(([key, child]) =>
      leaves(child, `${path}.${key}`, (value) => wrap({ [key]: value })),
    );
  }
  if (node.items !== undefined) return leaves(node.items, `${path}[0]`, (value) => wrap([value]));
  return [{ path, spec: wrap(sample(node)) }];
}

function sample(node: Schema): unknown {
  const type = node.type ?? node.anyOf?.[0]?.type;
  if (node.enum !== undefined) return node.enum[0];
  if (type === 'string') return 'x';
  if (type === 'integer' || type === 'number') return 7;
  if (type === 'boolean') return true;
  if (type === 'object') return { x: 'x' };
  return { any: 'thing' };
}

/** What has an effect today, and nothing else; each is proved by the tests of rendering and of the gateway. */
const inEffect = new Set([
  'spec.predictor.minReplicas',
  'spec.predictor.timeout',
  'spec.predictor.terminationGracePeriodSeconds',
  'spec.predictor.model.modelFormat.name',
  'spec.predictor.model.modelFormat.version',
  'spec.predictor.model.runtime',
  'spec.predictor.model.protocolVersion',
  'spec.predictor.model.storageUri',
  'spec.predictor.model.storageUris[0].uri',
  'spec.predictor.model.storageUris[0].mountPath',
  'spec.predictor.model.args[0]',
  'spec.predictor.model.env[0].name',
  'spec.predictor.model.env[0].value',
  'spec.predictor.model.readinessProbe.httpGet.path',
  'spec.predictor.model.readinessProbe.periodSeconds',
  'spec.predictor.model.readinessProbe.timeoutSeconds',
  'spec.predictor.model.readinessProbe.failureThreshold',
  'spec.predictor.model.startupProbe.periodSeconds',
  'spec.predictor.model.startupProbe.failureThreshold',
  'spec.predictor.model.startupProbe.initialDelaySeconds',
]);

describe('every field of the schema', () => {
  const all = leaves(schema.properties?.['spec'] ?? {}, 'spec', (value) => value);

  test('is walked', () => {
    expect(all.length).toBeGreaterThan(1500);
    const paths = new Set(all.map(({ path }) => path));
    expect([...inEffect].filter((path) => !paths.has(path))).toEqual([]);
  });

  test('is either in effect or reported, itself or as part of a field above it', () => {
    const silent = all.filter(({ path, spec }) => {
      const reported = fieldsWithoutEffect({ ...serviceOf(), spec: { predictor: {}, ...(spec as object) } });
      return !reported.some(
        (field) => path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`),
      );
    });
    expect(silent.map(({ path }) => path).sort()).toEqual([...inEffect].sort());
  });

  test('that tomorrow’s schema brings is reported too', () => {
    const predictor = { model: { modelFormat: { name: 'onnx', flavour: 'x' }, invented: 1 }, brandNew: {} };
    expect(fieldsWithoutEffect(serviceWith(predictor as unknown as Predictor))).toEqual([
      'spec.predictor.model.modelFormat.flavour',
      'spec.predictor.model.invented',
      'spec.predictor.brandNew',
    ]);
  });
});

describe('values decide', () => {
  const model = { modelFormat: { name: 'onnx' } };
  const cases: readonly [string, Predictor, readonly string[]][] = [
    ['nothing is set', { model }, []],
    ['scale to zero', { model, minReplicas: 0 }, ['spec.predictor.minReplicas']],
    [
      'a maximum above the minimum',
      { model, minReplicas: 1, maxReplicas: 3 },
      ['spec.predictor.maxReplicas'],
    ],
    ['a maximum at the minimum', { model, minReplicas: 2, maxReplicas: 2 }, []],
    ['a maximum of 0 is none', { model, maxReplicas: 0 }, []],
    ['a maximum of 1 without a minimum', { model, maxReplicas: 1 }, []],
    ['the server’s own port', { model: { ...model, readinessProbe: { httpGet: { port: 8080 } } } }, []],
    [
      'another port',
      { model: { ...model, readinessProbe: { httpGet: { port: 9091 } } } },
      ['spec.predictor.model.readinessProbe.httpGet.port'],
    ],
    [
      'several, in the object’s order',
      { model: { ...model, image: 'x' }, logger: { mode: 'all' }, canaryTrafficPercent: 10 },
      ['spec.predictor.model.image', 'spec.predictor.logger', 'spec.predictor.canaryTrafficPercent'],
    ],
  ];
  test.each(cases)('%s', (_name, predictor, expected) => {
    expect(fieldsWithoutEffect(serviceWith(predictor))).toEqual(expected);
  });
});

test('annotations that govern are reported unless they have an effect, others are free', () => {
  const annotations = {
    'serving.kserve.io/stop': 'true',
    'muster.dev/aliases': 'a',
    'muster.dev/startup-timeout-seconds': '9',
    'muster.dev/alias': 'a typing error',
    'serving.kserve.io/deploymentMode': 'Serverless',
    'autoscaling.knative.dev/target': '1',
    'kubectl.kubernetes.io/last-applied-configuration': '{}',
    note: 'mine',
  };
  const labels = { modelClass: 'x', team: 'a', 'networking.kserve.io/visibility': 'cluster-local' };
  expect(fieldsWithoutEffect(serviceOf({}, { annotations, labels }))).toEqual([
    "metadata.annotations['muster.dev/alias']",
    "metadata.annotations['serving.kserve.io/deploymentMode']",
    "metadata.annotations['autoscaling.knative.dev/target']",
    "metadata.labels['networking.kserve.io/visibility']",
  ]);
});
