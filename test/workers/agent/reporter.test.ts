import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Agent } from 'undici';
import { Ports } from '../../../activities/local/replica/port.ts';
import type { NodeReport } from '../../../domain/node/report.schema.ts';
import { Reporter } from '../../../workers/agent/reporter.ts';
import { FakeControlApi } from '../../fixtures/agent/control-api.ts';
import { eventually } from '../../fixtures/agent/waiting.ts';

let folder: string;
let api: FakeControlApi;
let port: number;
let reporter: Reporter;
let version: number;
const outcomes: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-reporter-'));
  api = new FakeControlApi('secret');
  port = await new Ports().take();
  version = 1;
  outcomes.length = 0;
  reporter = new Reporter({
    apiUrl: `http://127.0.0.1:${String(port)}`,
    node: 'n1',
    tokenFile: join(folder, 'token'),
    dispatcher: new Agent({ connections: 1, keepAliveTimeout: 100 }),
    read: () => ({ report: report(String(version)), version }),
    logger: pino({ level: 'silent' }),
    onOutcome: (outcome) => outcomes.push(outcome),
  });
});

afterEach(async () => {
  await reporter.close();
  await api.close();
  await rm(folder, { recursive: true, force: true });
});

function report(notice: string): NodeReport {
  const at = new Date().toISOString();
  return {
    node: 'n1',
    agentAddress: 'http://127.0.0.1:1',
    at,
    notices: [notice],
    replicas: [],
    transfers: [],
  };
}

describe('Reporter', () => {
  test('tries on until the token and the control API are there, then tells the newest state', async () => {
    reporter.start();
    await eventually('a failure without a token', () => outcomes.length >= 1);
    await writeFile(join(folder, 'token'), 'secret\n');
    version = 2;
    await api.listen(port);
    await eventually('a report', () => api.last);
    expect(api.last?.notices).toEqual(['2']);
    await eventually('that its answer is heard', () => reporter.acceptedVersion === 2);
    expect(outcomes.slice(0, -1).every((outcome) => outcome === 'failed')).toBe(true);
  });

  test('tells many changes in few reports, the last state among them', async () => {
    await writeFile(join(folder, 'token'), 'secret');
    await api.listen(port);
    reporter.start();
    await eventually('the first report', () => api.last);
    for (let n = 0; n < 500; n++) {
      version += 1;
      reporter.poke();
      if (n % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await eventually('the last state', () => reporter.acceptedVersion === version);
    expect(api.reports.length).toBeLessThan(20);
  });

  test('does not count a refused report as accepted', async () => {
    await writeFile(join(folder, 'token'), 'secret');
    api.status = 503;
    await api.listen(port);
    reporter.start();
    await eventually('failures', () => outcomes.length >= 2);
    expect(reporter.acceptedVersion).toBe(0);
    let told = 0;
    reporter.accepted.listen(() => (told += 1));
    api.status = 200;
    await eventually('a report', () => reporter.acceptedVersion === 1);
    expect(told).toBeGreaterThanOrEqual(1);
  });

  test('sends a last report when it is closed', async () => {
    await writeFile(join(folder, 'token'), 'secret');
    await api.listen(port);
    reporter.start();
    await eventually('a report', () => api.last);
    version = 99;
    await reporter.close();
    expect(api.last?.notices).toEqual(['99']);
  });
});
