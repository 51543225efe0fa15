import { describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { applyDefaults } from '../../../domain/inference-service/defaults.ts';
import { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { without } from '../../../domain/inference-service/without.ts';
import { validateInferenceService } from '../../../domain/inference-service/validation.ts';
import {
  ClusterServingRuntime,
  ServingRuntime,
} from '../../../domain/serving-runtime/serving-runtime.schema.ts';
import { validateServingRuntime } from '../../../domain/serving-runtime/validation.ts';

/**
 * KServe's own samples and CRDs, held against our schemas. They are not part of this repository: where the folder
 * beside it is absent, the tests are left out, and say so. Nothing that this machine lacks is hidden by that, so
 * it is no failure in continuous integration either.
 */
const root = fileURLToPath(new URL('../../../../shared/samples/kserve/', import.meta.url));
const present = existsSync(root);
if (!present) {
  process.stderr.write(
    `left out: KServe's samples are not at ${root}; they are needed to compare schemas only\n`,
  );
}
const withSamples = present ? describe : describe.skip;

const kinds = { InferenceService, ServingRuntime, ClusterServingRuntime } as const;
type Kind = keyof typeof kinds;
interface Manifest {
  readonly file: string;
  readonly kind: Kind;
  readonly object: { readonly apiVersion?: string };
}

/** Samples that KServe's v0.15 refuses too: fields of older versions, or in the wrong place. */
const outdated = [
  'docs/samples/explanation/alibi/', // spec.explainer.alibi is gone
  'docs/samples/v1beta1/torchserve/v1/bloom/bloom-560m.yaml', // nodeName stands in spec, not in predictor
];

function manifests(): Manifest[] {
  if (!present) return [];
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.yaml') && !outdated.some((prefix) => file.startsWith(prefix)))
    .flatMap((file) =>
      parseAllDocuments(readFileSync(root + file, 'utf8'), { logLevel: 'silent' })
        // Some samples are templates with {braces} to fill in, and no YAML before that.
        .filter((document) => document.errors.length === 0)
        .map((document): unknown => document.toJS({ mapAsMap: false }))
        .filter(isOurs)
        .map((object) => ({ file, kind: object.kind, object })),
    );
}

function isOurs(value: unknown): value is { kind: Kind; apiVersion: string } {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, apiVersion } = value as { kind?: unknown; apiVersion?: unknown };
  const versions: readonly unknown[] = ['serving.kserve.io/v1beta1', 'serving.kserve.io/v1alpha1'];
  return typeof kind === 'string' && Object.hasOwn(kinds, kind) && versions.includes(apiVersion);
}

withSamples('samples of KServe', () => {
  const all = manifests();

  test('are there in number', () => {
    expect(all.filter(({ kind }) => kind === 'InferenceService').length).toBeGreaterThan(50);
    expect(all.filter(({ kind }) => kind === 'ClusterServingRuntime')).toHaveLength(11);
  });
  test('fit our schemas', () => {
    const problems = all.flatMap(({ file, kind, object }) => {
      const parsed = kinds[kind].safeParse(object);
      return parsed.success ? [] : [`${file}: ${parsed.error.message}`];
    });
    expect(problems).toEqual([]);
  });
  test('pass our admission', () => {
    const problems = all.flatMap(({ file, kind, object }) => {
      if (kind !== 'InferenceService') return [];
      const parsed = without(InferenceService.parse(object), 'status');
      const problem = validateInferenceService(applyDefaults(parsed));
      return problem === null ? [] : [`${file}: ${problem}`];
    });
    expect(problems).toEqual([]);
  });
  test('the stock runtimes stand together, as in a cluster', () => {
    const runtimes = all
      .filter(({ kind }) => kind === 'ClusterServingRuntime')
      .map(({ object }) => ClusterServingRuntime.parse(object));
    expect(runtimes.map((runtime) => validateServingRuntime(runtime, runtimes)).filter(Boolean)).toEqual([]);
  });
});

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

/** Fields of the CRD that our schema would refuse; where ours leaves a part open, it takes everything. */
function missing(crd: Schema, ours: Schema | undefined, path: string): string[] {
  if (crd.items !== undefined) return missing(crd.items, ours?.items, `${path}[]`);
  const known = ours?.properties;
  if (known === undefined) return [];
  return Object.entries(crd.properties ?? {}).flatMap(([name, child]) =>
    Object.hasOwn(known, name) ? missing(child, known[name], `${path}.${name}`) : [`${path}.${name}`],
  );
}

withSamples("the fields of KServe's CRDs", () => {
  test.each([
    ['inferenceservices', 'v1beta1', InferenceService],
    ['servingruntimes', 'v1alpha1', ServingRuntime],
    ['clusterservingruntimes', 'v1alpha1', ClusterServingRuntime],
  ] as const)('of %s are all accepted', (plural, version, schema) => {
    const crd = parse(readFileSync(`${root}config/crd/full/serving.kserve.io_${plural}.yaml`, 'utf8')) as {
      spec: { versions: { name: string; schema: { openAPIV3Schema: Schema } }[] };
    };
    const upstream = crd.spec.versions.find(({ name }) => name === version)?.schema.openAPIV3Schema;
    const spec = upstream?.properties?.['spec'];
    const ours = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema;
    expect(Object.keys(spec?.properties ?? {}).length).toBeGreaterThan(2);
    expect(missing(spec ?? {}, ours.properties?.['spec'], 'spec')).toEqual([]);
  });
});
