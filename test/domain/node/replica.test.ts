import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { areNames, fillCommand, serverEnvironment } from '../../../domain/node/command.ts';
import {
  backoffMs,
  exited,
  hasFailedToLoad,
  probed,
  started,
  stateOf,
  stopping,
  type Replica,
} from '../../../domain/node/replica.ts';

const failure = { reason: 'RuntimeUnhealthy', message: 'm', time: '2026-01-01T00:00:00.000Z' };
const readyAt = (nowMs: number, before?: Replica): Replica =>
  probed(started(0, before, nowMs), true, 3, nowMs);

describe('backoffMs', () => {
  test.each([
    [0, 0],
    [1, 1_000],
    [2, 2_000],
    [4, 8_000],
    [9, 256_000],
    [10, 300_000],
    [1_000_000, 300_000],
  ])('after %d crashes is %d ms', (crashes, ms) => {
    expect(backoffMs(crashes)).toBe(ms);
  });

  test('never shrinks with more crashes', () => {
    fc.assert(fc.property(fc.nat(100), (n) => backoffMs(n + 1) >= backoffMs(n)));
  });
});

describe('a replica', () => {
  test('is Starting, Ready, NotReady after as many failures as the threshold, and Ready again', () => {
    let replica = started(0, undefined, 0);
    expect(stateOf(replica)).toBe('Starting');
    replica = probed(replica, false, 3, 10);
    expect(stateOf(replica)).toBe('Starting');
    replica = probed(replica, true, 3, 20);
    expect(stateOf(replica)).toBe('Ready');
    replica = probed(probed(replica, false, 3, 30), false, 3, 40);
    expect(stateOf(replica)).toBe('Ready');
    replica = probed(replica, false, 3, 50);
    expect(stateOf(replica)).toBe('NotReady');
    expect(stateOf(probed(replica, true, 3, 60))).toBe('Ready');
  });

  test('is in CrashLoopBackOff from the second exit on, and has failed to load if it never was ready', () => {
    const once = exited(started(0, undefined, 0), failure, 0);
    expect(stateOf(once)).toBe('Starting');
    expect(hasFailedToLoad(once)).toBe(false);
    const twice = exited(started(0, once, 1_000), failure, 1_000);
    expect(stateOf(twice)).toBe('CrashLoopBackOff');
    expect(hasFailedToLoad(twice)).toBe(true);
    const served = exited(exited(readyAt(0), failure, 5), failure, 6);
    expect(hasFailedToLoad(served)).toBe(false);
  });

  test('starts to count crashes anew after ten healthy minutes, and not before', () => {
    const crashed = exited(started(0, undefined, 0), failure, 0);
    const long = exited(readyAt(0, crashed), failure, 600_000);
    expect(long).toMatchObject({ crashes: 1, restarts: 2, startAfterMs: 601_000 });
    const short = exited(readyAt(0, crashed), failure, 599_999);
    expect(short).toMatchObject({ crashes: 2, startAfterMs: 601_999 });
  });

  test('that was asked to stop has not crashed, and one that hung has', () => {
    expect(exited(stopping(readyAt(0), false), failure, 9)).toMatchObject({
      crashes: 0,
      restarts: 0,
      startAfterMs: 9,
    });
    expect(exited(stopping(readyAt(0), true, failure), undefined, 9)).toMatchObject({
      crashes: 1,
      restarts: 1,
      failure,
    });
  });

  test('drops what went wrong before once it is ready', () => {
    expect(readyAt(0, exited(readyAt(0), failure, 1)).failure).toBeUndefined();
  });
});

describe('fillCommand', () => {
  test('fills each placeholder once, also inside other text and with spaces', () => {
    const filled = fillCommand(
      {
        command: ['serve', '{{ .ModelDir }}/x'],
        args: ['--port={{.Port}}', '--grpc', '{{.GrpcPort}}', '{{.Name}}'],
        env: [{ name: 'DIR', value: '{{.ModelDir}}' }],
      },
      { modelDir: '/m/{{.Port}}', port: 1, grpcPort: 2 },
    );
    expect(filled.argv).toEqual(['serve', '/m/{{.Port}}/x', '--port=1', '--grpc', '2', '{{.Name}}']);
    expect(filled.env).toEqual({ DIR: '/m/{{.Port}}' });
  });
});

describe('serverEnvironment', () => {
  test('lets nothing of the agent through but what is listed', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.string()), (agent) => {
        const env = serverEnvironment(agent, ['/bin1'], { OWN: '1' });
        expect(
          Object.keys(env).filter((k) => !['PATH', 'LANG', 'HOME', 'TMPDIR', 'OWN'].includes(k)),
        ).toEqual([]);
        expect(env['PATH']).toMatch(/^\/bin1:/);
      }),
    );
  });
});

describe('areNames', () => {
  test.each(['..', '.', 'a/b', '', 'a..b', 'A', '-a', 'a\0', 'a\n'])('refuses %j', (name) => {
    expect(areNames(name)).toBe(false);
  });

  test('accepts the names of Kubernetes', () => {
    expect(areNames('default', 'iris-predictor-00001', 'a.b')).toBe(true);
  });
});
