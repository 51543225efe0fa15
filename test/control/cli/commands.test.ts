import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parse } from 'yaml';
import { MusterError } from '../../../domain/errors.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';
import { useInstallation } from '../../fixtures/cli/installation.ts';
import { runCli } from '../../fixtures/cli/run-cli.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { clusterRuntime, service } from '../../fixtures/control/manifests.ts';

describe('muster against a real control API', () => {
  const installation = useInstallation();
  const { muster, file } = installation;
  let api: ApiHarness;
  let folder: string;
  beforeAll(() => {
    ({ api, folder } = installation);
    file('models/model.onnx', '');
  });
  beforeEach(() => {
    api.lifecycle.failure = null;
  });
  const yaml = (name: string, uri: string) =>
    `apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: ${name}}
spec: {predictor: {model: {modelFormat: {name: onnx}, storageUri: ${uri}}}}
`;
  const stored = async (name: string) =>
    (await api.call('GET', `/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/${name}`))
      .body as InferenceService;

  test('deploys several documents of one file, and says what became of each', async () => {
    const two = file('two.yaml', `${yaml('one', './models')}---\n${yaml('two', './models/model.onnx')}`);
    const first = await muster('deploy', '-f', two);
    expect(first).toMatchObject({ code: 0 });
    expect(first.stdout).toMatch(/one.*created/);
    expect(first.stdout).toMatch(/two.*created/);
    const again = await muster('deploy', '-f', two);
    expect(again.stdout).toMatch(/one.*unchanged/);
  });

  test('takes a relative path of a model from the folder of the manifest', async () => {
    file('sub/relative.yaml', yaml('relative', '../models'));
    expect((await muster('deploy', '-f', 'sub/relative.yaml')).code).toBe(0);
    expect((await stored('relative')).spec.predictor.model?.storageUri).toBe(
      pathToFileURL(join(folder, 'models')).href,
    );
  });

  test('deploys by options alone', async () => {
    const done = await muster(
      'deploy',
      'mine',
      '--model',
      './models',
      '--format',
      'onnx',
      '--min',
      '2',
      '--max',
      '3',
    );
    expect(done.code).toBe(0);
    expect((await stored('mine')).spec.predictor).toMatchObject({ minReplicas: 2, maxReplicas: 3 });
  });

  test.each([
    {
      name: 'no such file',
      args: ['deploy', '-f', 'nowhere.yaml'],
      code: 5,
      says: 'nowhere.yaml does not exist',
    },
    {
      name: 'no such model',
      args: ['deploy', 'x', '--model', './nowhere', '--format', 'onnx'],
      code: 5,
      says: 'nowhere',
    },
    { name: 'a format is missing', args: ['deploy', 'x', '--model', './models'], code: 2, says: '--format' },
    { name: 'an unknown option', args: ['get', '--nonsense'], code: 2, says: '--nonsense' },
    { name: 'an unknown output', args: ['get', '-o', 'xml'], code: 2, says: 'xml' },
    { name: 'an unknown command', args: ['depoly'], code: 2, says: 'deploy' },
    { name: 'an unknown service', args: ['get', 'isvc', 'nobody'], code: 4, says: 'nobody' },
    { name: 'nothing to describe', args: ['describe', 'nobody'], code: 4, says: 'nobody' },
    { name: 'nothing to delete', args: ['delete', 'nobody'], code: 4, says: 'nobody' },
  ])('$name: one plain line, and the exit code for it', async ({ args, code, says }) => {
    const answer = await muster(...args);
    expect(answer.stderr).toContain(says);
    expect(answer.stderr).not.toMatch(/\n\s+at /);
    expect(answer.code).toBe(code);
  });

  test('broken YAML is refused with its line', async () => {
    const answer = await muster(
      'deploy',
      '-f',
      file('broken.yaml', 'kind: InferenceService\n  bad: [indent'),
    );
    expect(answer.code).toBe(5);
    expect(answer.stderr).toMatch(/line \d+, column \d+/);
  });

  test("KServe's own words are printed for a manifest that it would refuse", async () => {
    const bad = yaml('bad', './models').replace(
      '{predictor: {',
      '{predictor: {minReplicas: 3, maxReplicas: 1, ',
    );
    const answer = await muster('deploy', '-f', file('bad.yaml', bad));
    expect(answer.code).toBe(5);
    expect(answer.stderr).toContain("'MinReplicas' cannot be greater than MaxReplicas");
  });

  test('lists as kubectl does, and in every other form', async () => {
    const table = await muster('get');
    expect(table.stdout.split('\n')[0]).toMatch(/^NAME +URL +READY +PREV +LATEST +.*AGE +PHASE$/);
    expect(table.stdout).toContain('mine');
    const json = JSON.parse((await muster('get', '-o', 'json')).stdout) as { kind: string; items: unknown[] };
    expect(json.kind).toBe('InferenceServiceList');
    const one = parse((await muster('get', 'isvc', 'mine', '-o', 'yaml')).stdout) as InferenceService;
    expect(one.metadata.name).toBe('mine');
    expect((await muster('get', '-o', 'wide')).stdout.split('\n')[0]).toContain('STORAGE');
    expect((await muster('get', '-o', 'name')).stdout).toMatch(/mine$/m);
    await api.call(
      'PUT',
      '/apis/serving.kserve.io/v1beta1/namespaces/team/inferenceservices/theirs',
      service('theirs', undefined, 'team'),
    );
    expect((await muster('get')).stdout).not.toContain('theirs');
    expect((await muster('get', '-A')).stdout).toContain('theirs');
    expect((await muster('get', '-n', 'team')).stdout).toContain('theirs');
  });

  test('runtimes are deployed and listed by the same commands', async () => {
    const answer = await muster(
      'deploy',
      '-f',
      file('runtime.json', JSON.stringify(clusterRuntime('mine-too', 'zeta'))),
    );
    expect(answer.code).toBe(0);
    expect((await muster('get', 'clusterservingruntimes')).stdout).toMatch(/mine-too +.*zeta/);
  });

  test('describes a service with its events, and shows its history', async () => {
    await api.internal('POST', '/internal/events', {
      namespace: 'default',
      name: 'mine',
      type: 'Warning',
      reason: 'RevisionFailed',
      message: 'the server ended with exit code 3',
      time: '2026-01-01T00:00:00Z',
    });
    const described = await muster('describe', 'mine');
    expect(described.stdout).toMatch(/Events:[\s\S]*RevisionFailed[\s\S]*exit code 3/);
    expect((await muster('events', 'mine')).stdout).toContain('RevisionFailed');
    expect((await muster('history', 'mine')).code).toBe(0);
  });

  test('stops, starts and deletes', async () => {
    expect(await muster('sleep', 'mine')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('wakes') as unknown,
    });
    expect((await muster('stop', 'mine')).code).toBe(0);
    expect((await stored('mine')).metadata.annotations).toMatchObject({ 'serving.kserve.io/stop': 'true' });
    expect((await muster('start', 'mine')).code).toBe(0);
    expect((await muster('delete', 'mine')).code).toBe(0);
    expect(api.lifecycle.calls).toContain('remove default/mine');
  });

  test('a plan prints the runtime and why, as text and as JSON', async () => {
    await api.call('PUT', '/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/local', {
      ...clusterRuntime('local', 'onnx'),
      metadata: { name: 'local', annotations: { 'muster.dev/local-environment': 'node' } },
    });
    const planned = await muster('plan', '-f', file('plan.yaml', yaml('planned', './models')));
    expect(planned).toMatchObject({ code: 0 });
    expect(planned.stdout).toContain('local');
    const json = JSON.parse((await muster('plan', '-f', 'plan.yaml', '-o', 'json')).stdout) as unknown;
    expect(JSON.stringify(json)).toContain('"action":"Create"');
  });

  test('says plainly that Temporal, or the whole of Muster, is away', async () => {
    api.lifecycle.failure = new MusterError(
      'temporal_unavailable',
      'Temporal does not answer at 127.0.0.1:7233.',
    );
    const away = await muster('stop', 'one');
    expect(away.code).toBe(6);
    expect(away.stderr).toContain('Temporal does not answer');
    const down = await runCli(['get'], {
      env: { MUSTER_DATA_DIR: folder, MUSTER_API_URL: 'http://127.0.0.1:1' },
    });
    expect(down.code).toBe(6);
    expect(down.stderr).toMatch(/muster up|npm start/);
    expect(down.stderr.trim().split('\n')).toHaveLength(1);
  });

  test('a wrong token is said to be one', async () => {
    const other = mkdtempSync(join(tmpdir(), 'muster-cli-token-'));
    writeFileSync(join(other, 'token'), 'wrong');
    const answer = await runCli(['get'], { env: { MUSTER_DATA_DIR: other, MUSTER_API_URL: api.url } });
    rmSync(other, { recursive: true });
    expect(answer.code).not.toBe(0);
    expect(answer.stderr).toContain('token');
    expect(answer.stderr).not.toContain(api.token);
  });
});
