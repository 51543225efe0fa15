import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { ageOf, formatAge, formatBytes, parseDuration } from '../../../control/cli/age.ts';
import { describeService } from '../../../control/cli/commands/describe.ts';
import { statusText } from '../../../control/cli/commands/status.ts';
import { inferenceService, kindByName, pathOf } from '../../../control/cli/kinds.ts';
import { failureOf, phaseOf, viewOf } from '../../../control/cli/objects.ts';
import { renderTable } from '../../../control/cli/table.ts';
import { createDisplay, linesOf, type Picture } from '../../../control/cli/up/display.ts';
import { nextSteps } from '../../../control/cli/up/next-steps.ts';
import type { UpState } from '../../../control/up/state.ts';
import type { InferenceService } from '../../../domain/inference-service/inference-service.schema.ts';

const now = new Date('2026-01-01T01:00:00Z');
const ago = (seconds: number) => new Date(now.getTime() - seconds * 1000).toISOString();

const iris: InferenceService = {
  apiVersion: 'serving.kserve.io/v1beta1',
  kind: 'InferenceService',
  metadata: { name: 'iris', namespace: 'default', generation: 2, creationTimestamp: ago(192) },
  spec: { predictor: { model: { modelFormat: { name: 'onnx' }, storageUri: 'file:///models/iris' } } },
  status: {
    observedGeneration: 2,
    url: 'http://iris-default.example.com',
    conditions: [
      { type: 'Ready', status: 'True', lastTransitionTime: ago(60) },
      { type: 'LatestDeploymentReady', status: 'True', lastTransitionTime: ago(60) },
    ],
    components: {
      predictor: {
        traffic: [
          { revisionName: 'iris-predictor-00002', latestRevision: true, percent: 90 },
          { revisionName: 'iris-predictor-00001', latestRevision: false, percent: 10 },
        ],
      },
    },
    modelStatus: {
      transitionStatus: 'UpToDate',
      states: { activeModelState: 'Loaded', targetModelState: 'Loaded' },
      copies: { failedCopies: 0, totalCopies: 2 },
    },
  },
};
const condition = (type: string, status: 'True' | 'False' | 'Unknown', reason?: string) => ({
  ...{ type, status, lastTransitionTime: ago(5) },
  ...(reason === undefined ? {} : { reason }),
});

describe('ages and sizes', () => {
  test.each([
    [0, '0s'],
    [59, '59s'],
    [60, '1m'],
    [192, '3m12s'],
    [47 * 60 + 3, '47m'],
    [3 * 3600 + 1200, '3h20m'],
    [12 * 3600 + 1200, '12h'],
    [2 * 86_400 + 4 * 3600, '2d4h'],
    [11 * 86_400, '11d'],
  ])('%d s are %s, as kubectl writes it', (seconds, text) => {
    expect(formatAge(seconds * 1000)).toBe(text);
  });

  test.each([
    ['90', 90_000],
    ['90s', 90_000],
    ['10m', 600_000],
    ['1h30m', 5_400_000],
    ['', null],
    ['soon', null],
    ['-5s', null],
    ['1.5h', null],
  ])('the duration %p is %p ms', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  test('every age that has one or two units is read back as it was, to the second', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 599 }), (seconds) => {
        expect(parseDuration(formatAge(seconds * 1000))).toBe(seconds * 1000);
      }),
    );
  });

  test.each([
    [0, '0 B'],
    [613, '613 B'],
    [2_000_576, '2 MB'],
    [92_700_000, '93 MB'],
    [1_440_000_000, '1.4 GB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('an unknown time has an unknown age', () => {
    expect(ageOf(undefined, now)).toBe('<unknown>');
    expect(ageOf('yesterday', now)).toBe('<unknown>');
  });
});

describe('tables', () => {
  test('are aligned, without lines, and without blanks at the end', () => {
    expect(
      renderTable(
        ['NAME', 'AGE'],
        [
          ['a', '1s'],
          ['longer', ''],
        ],
      ),
    ).toBe('NAME     AGE\na        1s\nlonger');
  });

  test("services have KServe's columns and the phase", () => {
    const view = viewOf(inferenceService, false);
    expect(renderTable(view.head, [view.row(iris, now)])).toBe(
      [
        'NAME   URL                               READY   PREV   LATEST   PREVROLLEDOUTREVISION   LATESTREADYREVISION    AGE     PHASE',
        'iris   http://iris-default.example.com   True    10     90       iris-predictor-00001    iris-predictor-00002   3m12s   Ready',
      ].join('\n'),
    );
  });

  test('wide ones have format, replicas and storage as well', () => {
    const view = viewOf(inferenceService, true);
    expect(view.row(iris, now).slice(view.head.indexOf('FORMAT'))).toEqual([
      'onnx',
      '',
      '2/2',
      'file:///models/iris',
    ]);
  });

  test('runtimes show their formats once each', () => {
    const view = viewOf(kindByName('csr'), true);
    const row = view.row(
      {
        apiVersion: 'serving.kserve.io/v1alpha1',
        kind: 'ClusterServingRuntime',
        metadata: { name: 'r', creationTimestamp: ago(5) },
        spec: {
          containers: [{ name: 'kserve-container' }],
          supportedModelFormats: [
            { name: 'onnx', version: '1' },
            { name: 'onnx', version: '2' },
            { name: 'x' },
          ],
          protocolVersions: ['v1', 'v2'],
          annotations: { 'muster.dev/local-environment': 'node' },
        },
      },
      now,
    );
    expect(row).toEqual(['r', '', 'onnx,x', 'kserve-container', '5s', 'v1,v2', 'node']);
  });
});

describe('the phase of a service is read from its conditions', () => {
  const at = (conditions: ReturnType<typeof condition>[], more: object = {}): InferenceService => ({
    ...iris,
    status: { observedGeneration: 2, conditions, ...more },
  });
  const failed = {
    modelStatus: {
      transitionStatus: 'BlockedByFailedLoad' as const,
      states: { activeModelState: '' as const, targetModelState: 'FailedToLoad' as const },
      lastFailureInfo: { reason: 'ModelLoadFailed', message: 'not a model', time: ago(5) },
    },
  };
  test.each([
    ['without a status', { ...iris, status: {} }, 'Pending'],
    [
      'while its model is fetched',
      at([condition('LatestDeploymentReady', 'Unknown', 'Preparing')]),
      'Preparing',
    ],
    ['while it is stopped', at([condition('Stopped', 'True')]), 'Stopped'],
    ['while it is being deleted', at([condition('LatestDeploymentReady', 'False', 'Deleting')]), 'Deleting'],
    ['when nothing of it came up', at([condition('Ready', 'False')], failed), 'Failed'],
    ['when the old revision goes on', at([condition('Ready', 'True')], failed), 'Degraded'],
    ['when all is well', iris, 'Ready'],
  ])('%s', (_, service, phase) => {
    expect(phaseOf(service)).toBe(phase);
  });

  test('a failure of an older generation says nothing about the newest', () => {
    const service = at([condition('Ready', 'False')], failed);
    expect(failureOf(service)).toBe('ModelLoadFailed: not a model');
    expect(failureOf({ ...service, metadata: { ...service.metadata, generation: 3 } })).toBeNull();
  });
});

test('a service is described in sections, oldest event first', () => {
  const event = { namespace: 'default', name: 'iris', count: 1 };
  const text = describeService(
    iris,
    {
      items: [
        { ...event, type: 'Normal', reason: 'Second', message: 'b', firstTime: ago(5), lastTime: ago(5) },
        {
          ...event,
          type: 'Warning',
          reason: 'First',
          message: 'a',
          count: 3,
          firstTime: ago(90),
          lastTime: ago(60),
        },
      ],
    },
    { items: [] },
    now,
  );
  expect(text).toBe(
    `Name:        iris
Namespace:   default
Created:     2026-01-01T00:56:48.000Z
Generation:  2 (observed 2)
Phase:       Ready
URL:         http://iris-default.example.com
Spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      storageUri: file:///models/iris
Conditions:
  TYPE                    STATUS   REASON   AGE   MESSAGE
  Ready                   True              1m
  LatestDeploymentReady   True              1m
Model Status:
  Transition:    UpToDate
  Active Model:  Loaded
  Target Model:  Loaded
  Copies:        2 total, 0 failed
Revisions:
  <none>
Events:
  AGE                  TYPE      REASON   MESSAGE
  1m (x3 over 1m30s)   Warning   First    a
  5s                   Normal    Second   b`,
  );
});

test('paths of objects escape what is no plain name', () => {
  expect(pathOf(inferenceService, 'a b', 'x/y')).toBe(
    '/apis/serving.kserve.io/v1beta1/namespaces/a%20b/inferenceservices/x%2Fy',
  );
  expect(pathOf(kindByName('csr'), 'team', 'r')).toBe(
    '/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/r',
  );
});

const state: UpState = {
  pid: 7,
  startedAt: ago(30),
  phase: 'ready',
  processes: [
    { name: 'api', phase: 'running', pid: 8, restarts: 0, message: '' },
    { name: 'gateway', phase: 'restarting', pid: null, restarts: 2, message: 'ended (SIGKILL)' },
  ],
  endpoints: {
    gateway: 'http://127.0.0.1:8080',
    api: 'http://127.0.0.1:8090',
    temporal: '127.0.0.1:7233',
    temporalUi: 'http://127.0.0.1:8233',
  },
  dataDir: '/data',
  detached: true,
};

describe('muster status', () => {
  test('shows processes, and that the control API is away', () => {
    expect(statusText(state, null, now)).toBe(`Muster is ready (process 7, 30s, data folder /data)

PROCESS   STATE        PID   RESTARTS   MESSAGE
api       running      8     0
gateway   restarting         2          ended (SIGKILL)

The control API does not answer.`);
  });

  test('says that Temporal is not reachable, and what that means', () => {
    const control = {
      ...{ version: '1', startedAt: ago(30), gatewayUrl: 'http://g', gateways: [], routesVersion: 4 },
      temporal: { address: 't:7233', uiUrl: null, reachable: false },
      nodes: [
        { node: 'local', lastSeen: null, notices: ['python3 is missing.'], replicas: { total: 2, ready: 1 } },
      ],
      services: { total: 2, ready: 1 },
    };
    const text = statusText(null, control, now);
    expect(text).toContain('Temporal   t:7233 (NOT reachable: reads work, changes wait)');
    expect(text).toMatch(/local +never +1\/2 +python3 is missing\./);
  });
});

describe('what to try next', () => {
  test('three curl lines that the shell takes as one command each, with bodies that are JSON', () => {
    const text = nextSteps(state, ['iris', 'tiny-llm'], false);
    const curls = text.split('\n').filter((line) => line.trim().startsWith('curl '));
    expect(curls).toHaveLength(3);
    for (const line of curls) {
      const body = /-d '([^']+)'$/.exec(line)?.[1];
      expect(() => JSON.parse(body ?? '') as unknown).not.toThrow();
      expect(line).toContain('http://127.0.0.1:8080/');
    }
    expect(text).toContain('http://127.0.0.1:8233');
    expect(text).toContain('Ctrl-C');
  });

  test('nothing that is not ready is offered', () => {
    const text = nextSteps(state, ['iris'], true);
    expect(text).not.toContain('tiny-llm');
    expect(text).toContain('npx muster down');
  });
});

describe('the display', () => {
  const sample = (text: string) => [{ name: 'iris', text, outcome: 'pending' as const }];
  const picture = (text: string): Picture => ({
    state,
    samples: sample(text),
    notices: ['python3 is missing.'],
  });

  function terminal(isTTY: boolean, columns = 30) {
    const stream = Object.assign(new PassThrough(), { isTTY, columns });
    let written = '';
    stream.on('data', (chunk: Buffer) => (written += chunk.toString()));
    return { stream, text: () => written };
  }

  test('prints a plain line for each change where there is no terminal, and a notice once', () => {
    const { stream, text } = terminal(false);
    const display = createDisplay(stream);
    display.show(picture('Preparing'));
    display.show(picture('Preparing'));
    display.show(picture('Ready'));
    display.end();
    expect(text()).toBe(
      'api: running\ngateway: restarting, ended (SIGKILL)\niris: Preparing\nnote: python3 is missing.\niris: Ready\n',
    );
  });

  test('draws one block over itself at a terminal, no line wider than it', async () => {
    const { stream, text } = terminal(true);
    const display = createDisplay(stream);
    display.show(picture('Preparing'));
    await new Promise((resolve) => setTimeout(resolve, 200));
    display.show(picture('Preparing, Download 12 MB of 93 MB'));
    display.show(picture('Ready'));
    display.end();
    const drawings = text().split('\u001b[J').slice(1);
    expect(drawings).toHaveLength(2);
    expect(text()).toContain(`\u001b[${linesOf(picture('')).length}A`);

    const lines = drawings
      .join('')
      .replaceAll(/\u001b\[\d+[mA]/g, '')
      .split('\n');
    expect(lines.every((line) => line.length < 30)).toBe(true);
    expect(text()).not.toContain('12 MB');
  });

  test('cuts nothing off at a terminal that does not know its width', () => {
    const { stream, text } = terminal(true, 0);
    const display = createDisplay(stream);
    display.show(picture('Preparing'));
    display.end();
    expect(text()).toContain('Preparing\n');
  });
});
