import { Client, connectivityState, credentials } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ConnectLimit } from '../../../gateway/grpc/connect-limit.ts';
import { TimerWheel } from '../../../gateway/timer-wheel.ts';
import { startRawBackend } from '../../fixtures/gateway/backends.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { startGrpcServer } from '../../fixtures/grpc/servers.ts';

const connectMs = 1_000;

describe('the limit to making a connection', () => {
  let nowMs: number;
  let wheel: TimerWheel;
  let client: Client | null;
  let late: string[];
  beforeEach(() => {
    nowMs = 0;
    wheel = new TimerWheel(() => nowMs);
    client = null;
    late = [];
  });
  afterEach(() => client?.close());

  const towards = (address: string) => {
    client = new Client(address.slice(address.indexOf('//') + 2), credentials.createInsecure());
    const channel = client.getChannel();
    const limit = new ConnectLimit(client, wheel, connectMs);
    return {
      /** As a call does. */
      connect: () => channel.getConnectivityState(true),
      isConnected: () => channel.getConnectivityState(false) === connectivityState.READY,
      begin: (name: string) => limit.begin(() => late.push(name)),
    };
  };
  const pass = (ms: number) => {
    for (const end = nowMs + ms; nowMs < end;) {
      nowMs += 32;
      wheel.turn();
    }
  };

  test('tells each call that began without one once, in its own time', async () => {
    const silent = await startRawBackend(() => undefined);
    const { connect, begin } = towards(silent.address);
    connect();
    begin('first');
    pass(500);
    begin('second');
    expect(late).toEqual([]);
    pass(800);
    expect(late).toEqual(['first']);
    pass(5_000);
    expect(late).toEqual(['first', 'second']);
    expect(wheel.size).toBe(0);
    await silent.close();
  });

  test('leaves no timer behind for a call that is over', async () => {
    const silent = await startRawBackend(() => undefined);
    const { begin } = towards(silent.address);
    const over = begin('over');
    expect(wheel.size).toBe(1);
    over();
    expect(wheel.size).toBe(0);
    pass(2_000);
    expect(late).toEqual([]);
    await silent.close();
  });

  test('lets calls be once there was a connection, also when there is none any more', async () => {
    const server = await startGrpcServer();
    const { connect, isConnected, begin } = towards(server.address);
    begin('before');
    connect();
    await until(isConnected);
    begin('after');
    expect(wheel.size).toBe(0);
    server.close();
    await until(() => !isConnected());
    pass(2_000);
    expect(late).toEqual([]);
  });
});
