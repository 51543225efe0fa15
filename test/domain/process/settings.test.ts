import { describe, expect, test } from '@jest/globals';
import { ZodError } from 'zod';
import { parseSettings } from '../../../domain/process/settings.schema.ts';

const parse = (env: Record<string, string>) => parseSettings(env, '/home/me');

describe('the settings of a gateway', () => {
  test('are one process on 8080, gRPC on 8081 where it is free, no TLS, a short rehearsal', () => {
    expect(parse({})).toMatchObject({
      gatewayPort: 8080,
      gatewayProcesses: 1,
      gatewayRoutes: undefined,
      gatewayWarmUpMs: 2_000,
      gatewayClient: 'own',
      grpcPort: 8081,
      grpcIsChosen: false,
      tls: undefined,
      upstreamTls: undefined,
    });
  });

  test('know whether the port of gRPC was chosen, also when it is the default one', () => {
    expect(parse({ MUSTER_GRPC_PORT: '8081' }).grpcIsChosen).toBe(true);
    expect(parse({ MUSTER_GRPC_PORT: '' }).grpcIsChosen).toBe(false);
  });

  test('hold the files of TLS, both ways', () => {
    const settings = parse({
      MUSTER_TLS_CERT: '/c',
      MUSTER_TLS_KEY: '/k',
      MUSTER_TLS_CLIENT_CA: '/ca',
      MUSTER_TLS_CLIENT_CERT: 'required',
      MUSTER_UPSTREAM_CA: '/uca',
    });
    expect(settings.tls).toEqual({
      certPath: '/c',
      keyPath: '/k',
      clientCaPath: '/ca',
      requireClientCertificate: true,
    });
    expect(settings.upstreamTls).toEqual({ caPath: '/uca' });
  });

  test.each([
    ['a certificate without its key', { MUSTER_TLS_CERT: '/c' }, 'MUSTER_TLS_KEY'],
    ['a key without its certificate', { MUSTER_TLS_KEY: '/k' }, 'MUSTER_TLS_CERT'],
    ['an authority of clients without TLS', { MUSTER_TLS_CLIENT_CA: '/ca' }, 'MUSTER_TLS_CERT'],
    [
      'certificates that are required of no authority',
      { MUSTER_TLS_CERT: '/c', MUSTER_TLS_KEY: '/k', MUSTER_TLS_CLIENT_CERT: 'required' },
      'MUSTER_TLS_CLIENT_CA',
    ],
    ['half of our own certificate', { MUSTER_UPSTREAM_KEY: '/k' }, 'MUSTER_UPSTREAM_CERT'],
    ['no process', { MUSTER_GATEWAY_PROCESSES: '0' }, 'MUSTER_GATEWAY_PROCESSES'],
    ['processes that are no number', { MUSTER_GATEWAY_PROCESSES: 'two' }, 'MUSTER_GATEWAY_PROCESSES'],
    ['a port that is none', { MUSTER_GRPC_PORT: '70000' }, 'MUSTER_GRPC_PORT'],
  ])('refuse %s, and name the variable', (_what, env, variable) => {
    let issues: unknown = null;
    try {
      parse(env);
    } catch (error) {
      issues = error instanceof ZodError ? error.issues.map(({ path }) => path[0]) : error;
    }
    expect(issues).toEqual([variable]);
  });
});
