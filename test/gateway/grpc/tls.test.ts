import { copyFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Server, ServerCredentials, credentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServiceError, sendUnaryData } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import { inferenceMethods } from '../../../gateway/grpc/schema.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import { defaultLimits } from '../../../gateway/limits.ts';
import { startStandalone } from '../../../gateway/start.ts';
import type { RunningGateway } from '../../../gateway/start.ts';
import { dataFolder } from '../../../domain/process/data-folder.ts';
import { makeCertificates } from '../../fixtures/access/certificates.ts';
import type { Certificates } from '../../fixtures/access/certificates.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { requirePart, runs } from '../../fixtures/require.ts';

const hasOpenssl = runs('openssl', ['version']);
const test = requirePart('openssl', hasOpenssl, 'it makes the certificates: install it');
const infer = {
  model_name: 'm',
  inputs: [{ name: 'x', datatype: 'INT8', shape: [1] }],
  raw_input_contents: [Buffer.from([7])],
};

describe('gRPC over TLS', () => {
  let made: Certificates;
  let folder: string;
  let upstream: Server;
  let address: string;
  let gateway: RunningGateway | null;
  /** As whom the gateway came; and a call that waits for its answer. */
  let callers: unknown[];
  let held: (() => void) | null;
  beforeAll(() => {
    if (!hasOpenssl) return;
    made = makeCertificates();
    for (const name of ['server', 'renewed', 'gateway', 'alice']) made.make(name, 'DNS:localhost', 'ca');
    made.make('named', 'DNS:model.internal', 'ca');
    made.make('mallory', 'DNS:localhost');
  }, 60_000);
  afterAll(() => {
    if (hasOpenssl) made.remove();
  });
  beforeEach(async () => {
    gateway = null;
    callers = [];
    held = null;
    folder = await mkdtemp(join(tmpdir(), 'muster-grpc-tls-'));
    upstream = new Server();
    upstream.addService(inferenceMethods, {
      ModelInfer: (call: ServerUnaryCall<Fields, Fields>, callback: sendUnaryData<Fields>) => {
        const { id, inputs, raw_input_contents: raw } = call.request;
        callers.push(call.getAuthContext().sslPeerCertificate?.subject.CN ?? null);
        const answer = () => {
          callback(null, { model_name: 'm', outputs: inputs, raw_output_contents: raw });
        };
        if (id === 'held') held = answer;
        else answer();
      },
    });
    if (!hasOpenssl) return;
    address = await serve('server');
  });
  afterEach(async () => {
    await gateway?.stop();
    upstream.forceShutdown();
    await rm(folder, { recursive: true });
  });

  const serve = async (name: string) => {
    const pair = { cert_chain: made.read(`${name}.crt`), private_key: made.read(`${name}.key`) };
    const port = await new Promise<number>((resolve, reject) => {
      const own = ServerCredentials.createSsl(made.read('ca.crt'), [pair], true);
      upstream.bindAsync('localhost:0', own, (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    return `grpcs://localhost:${port}`;
  };
  const start = async (policy: object = {}, more: object = {}, towards: object = {}) => {
    for (const kind of ['crt', 'key'])
      copyFileSync(made.path(`server.${kind}`), join(folder, `live.${kind}`));
    const routesFile = join(folder, 'routes.json');
    const services = [{ name: 'm', protocols: ['grpc-v2'], endpoints: [address] }];
    await writeFile(routesFile, JSON.stringify({ services, policy }));
    gateway = await startStandalone({
      host: 'localhost',
      port: 0,
      grpc: { port: 0, isChosen: true },
      tls: {
        certPath: join(folder, 'live.crt'),
        keyPath: join(folder, 'live.key'),
        clientCaPath: made.path('ca.crt'),
        requireClientCertificate: true,
        ...more,
      },
      upstreamTls: {
        caPath: made.path('ca.crt'),
        certPath: made.path('gateway.crt'),
        keyPath: made.path('gateway.key'),
        ...towards,
      },
      limits: defaultLimits,
      logger: pino({ level: 'silent' }),
      version: '0',
      folder: dataFolder(folder),
      routesFile,
    });
  };
  const ask = (who: string | null, method = 'ModelInfer', fields: Fields = infer) => {
    const pair = who === null ? [] : [made.read(`${who}.key`), made.read(`${who}.crt`)];
    const client = new Client(
      `localhost:${gateway?.grpcPort ?? 0}`,
      credentials.createSsl(made.read('ca.crt'), ...pair),
    );
    const definition = inferenceMethods[method];
    if (definition === undefined) throw new Error(method);
    return new Promise<Fields>((resolve, reject) => {
      client.makeUnaryRequest<Fields, Fields>(
        definition.path,
        definition.requestSerialize,
        definition.responseDeserialize,
        fields,
        (error, response) => {
          client.close();
          if (error === null) resolve(response ?? {});
          else reject(error);
        },
      );
    });
  };
  const codeOf = async (asked: Promise<unknown>) =>
    asked.then(
      () => status.OK,
      (error: unknown) => (error as ServiceError).code,
    );

  test('asks clients and servers for certificates, and shows its own', async () => {
    await start();
    const { raw_output_contents: raw } = await ask('alice');
    expect((raw as Buffer[]).map((bytes) => [...bytes])).toEqual([[7]]);
    expect(await codeOf(ask('mallory'))).toBe(status.UNAVAILABLE);
    expect(await codeOf(ask(null))).toBe(status.UNAVAILABLE);
  });

  test("knows servers by the name that was set, in place of their address's", async () => {
    address = await serve('named');
    await start({}, {}, { serverName: 'model.internal' });
    expect(await codeOf(ask('alice'))).toBe(status.OK);
  });

  test('refuses a server whose certificate bears another name than was set', async () => {
    await start({}, {}, { serverName: 'model.internal' });
    expect(await codeOf(ask('alice'))).toBe(status.UNAVAILABLE);
  });

  test('knows its callers by their certificates', async () => {
    const rule = { name: 'alice', commonName: 'alice', models: ['default/m'] };
    await start({ access: { mode: 'required', certificates: [rule] } });
    expect(await codeOf(ask('alice'))).toBe(status.OK);
    expect(await codeOf(ask('gateway'))).toBe(status.UNAUTHENTICATED);
    expect(await codeOf(ask('gateway', 'ServerReady', {}))).toBe(status.OK);
  });

  test('takes nobody at the word of a certificate that it does not demand', async () => {
    const rule = { name: 'alice', san: 'DNS:localhost' };
    const more = { requireClientCertificate: false };
    await start({ access: { mode: 'required', certificates: [rule] } }, more);
    expect(await codeOf(ask('mallory'))).toBe(status.UNAUTHENTICATED);
    expect(await codeOf(ask('alice'))).toBe(status.UNAUTHENTICATED);
    expect(await codeOf(ask(null, 'ServerReady', {}))).toBe(status.OK);
  });

  test('keeps the old certificate while new files are no pair', async () => {
    await start();
    copyFileSync(made.path('renewed.crt'), join(folder, 'live.crt'));
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(await codeOf(ask('alice'))).toBe(status.OK);
  });

  test('comes to servers with a renewed certificate without a restart, and finishes calls under the old one', async () => {
    const renew = (name: string) => {
      for (const kind of ['crt', 'key'])
        copyFileSync(made.path(`${name}.${kind}`), join(folder, `towards.${kind}`));
    };
    renew('gateway');
    const towards = { certPath: join(folder, 'towards.crt'), keyPath: join(folder, 'towards.key') };
    await start({}, {}, towards);
    const first = ask('alice', 'ModelInfer', { ...infer, id: 'held' });
    await until(() => held !== null);
    renew('renewed');
    await until(async () => {
      await ask('alice');
      return callers.at(-1) === 'renewed';
    });
    expect(callers[0]).toBe('gateway');
    held?.();
    expect((await first)['model_name']).toBe('m');
    await ask('alice');
    expect(callers.at(-1)).toBe('renewed');
  });

  test('takes a renewed certificate without a restart', async () => {
    await start();
    await ask('alice');
    const serial = () =>
      new Promise<string>((resolve, reject) => {
        void import('node:tls').then(({ connect }) => {
          const socket = connect(
            {
              host: 'localhost',
              port: gateway?.grpcPort ?? 0,
              ca: made.read('ca.crt'),
              cert: made.read('alice.crt'),
              key: made.read('alice.key'),
              ALPNProtocols: ['h2'],
            },
            () => {
              resolve(socket.getPeerCertificate().serialNumber);
              socket.destroy();
            },
          );
          socket.on('error', reject);
        });
      });
    const before = await serial();
    for (const kind of ['crt', 'key'])
      copyFileSync(made.path(`renewed.${kind}`), join(folder, `live.${kind}`));
    await until(async () => (await serial()) !== before);
    expect(await codeOf(ask('alice'))).toBe(status.OK);
  });
});
