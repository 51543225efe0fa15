import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { grpcUpstreams } from '../../../gateway/grpc/grpc-upstream.ts';
import { inferenceMethods } from '../../../gateway/grpc/schema.ts';
import type { Fields } from '../../../gateway/grpc/schema.ts';
import type { Upstream, UpstreamCall } from '../../../gateway/upstream/upstream.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { postJson, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';

/** A network between gateway and server that can forget the connections of now: nothing goes through, none is reset. */
class Network {
  made = 0;
  readonly open = new Set<Socket>();
  private readonly flows = new Set<{ isForgotten: boolean }>();
  private readonly server: Server;

  constructor(port: number) {
    this.server = createServer((near) => {
      const flow = { isForgotten: false };
      this.made += 1;
      this.open.add(near);
      this.flows.add(flow);
      const far = connect(port, '127.0.0.1');
      const pass = (from: Socket, to: Socket) => {
        from.on('data', (bytes) => {
          if (!flow.isForgotten) to.write(bytes);
        });
        from.on('error', () => undefined);
        from.on('close', () => to.destroy());
      };
      pass(near, far);
      pass(far, near);
      near.on('close', () => this.open.delete(near));
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `grpc://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  forget(): void {
    for (const flow of this.flows) flow.isForgotten = true;
  }

  close(): void {
    for (const socket of this.open) socket.destroy();
    this.server.close();
  }
}

/** Answers at once, but what is named "never" never, and what is named "long" when it is told to. */
class SlowServer {
  answerLong: () => void = () => undefined;
  private readonly server = new GrpcServer();

  async listen(): Promise<number> {
    const { ModelInfer } = inferenceMethods;
    if (ModelInfer === undefined) throw new Error('no method');
    const infer = ({ request }: ServerUnaryCall<Fields, Fields>, callback: sendUnaryData<Fields>) => {
      const { id, inputs, raw_input_contents } = request;
      const answer = () => {
        callback(null, { id, outputs: inputs, raw_output_contents: raw_input_contents });
      };
      if (id === 'long') this.answerLong = answer;
      else if (id !== 'never') answer();
    };
    this.server.addService({ ModelInfer }, { ModelInfer: infer });
    return new Promise((resolve, reject) => {
      this.server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
        if (error === null) resolve(port);
        else reject(error);
      });
    });
  }

  close(): void {
    this.server.forceShutdown();
  }
}

const path = '/v2/models/m/infer';
const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }] };

describe('a connection to a gRPC server', () => {
  let server: SlowServer;
  let network: Network;
  let address: string;
  let upstream: Upstream;

  beforeEach(async () => {
    server = new SlowServer();
    network = new Network(await server.listen());
    address = await network.listen();
    upstream = grpcUpstreams({ messageBytesMax: 1 << 20, connectMs: 1_000 })(address);
  });
  afterEach(() => {
    upstream.close();
    network.close();
    server.close();
  });

  const send = (id: string, headersMs: number): { call: UpstreamCall; told: Promise<string> } => {
    let call: UpstreamCall | undefined;
    const told = new Promise<string>((resolve) => {
      const request = {
        method: 'POST',
        path,
        headers: [],
        body: Buffer.from(JSON.stringify({ ...body, id })),
      };
      call = upstream.send(
        { ...request, headersMs, bodyIdleMs: headersMs },
        {
          onSent: () => undefined,
          onHead: (status) => {
            resolve(String(status));
          },
          onData: () => undefined,
          onEnd: () => undefined,
          onFailure: ({ kind }) => {
            resolve(kind);
          },
        },
      );
    });
    if (call === undefined) throw new Error('no call');
    return { call, told };
  };
  const ask = (id: string, headersMs: number) => send(id, headersMs).told;

  test('that the network has forgotten costs one call, and no other', async () => {
    const gateway = await startTestGateway();
    try {
      gateway.use([service('m', { ready: [address], protocols: ['grpc-v2'], timeoutMs: 500 })]);
      const infer = async () => (await postJson(`${gateway.url}${path}`, body)).status;
      expect(await infer()).toBe(200);
      network.forget();
      expect(await infer()).toBe(504);
      expect([await infer(), await infer()]).toEqual([200, 200]);
      expect(network.made).toBe(2);
      await until(() => network.open.size === 1);
    } finally {
      await gateway.close();
    }
  });

  test('is another one after a caller has left a long silence', async () => {
    expect(await ask('a', 5_000)).toBe('200');
    network.forget();
    const { call } = send('b', 400);
    await sleep(300);
    call.abort();
    await sleep(20); // grpc-js tells of it a little later
    expect(await ask('c', 5_000)).toBe('200');
    expect(network.made).toBe(2);
  });

  test('stays when a caller leaves soon', async () => {
    expect(await ask('a', 5_000)).toBe('200');
    send('never', 5_000).call.abort();
    await sleep(50);
    expect(await ask('b', 5_000)).toBe('200');
    expect(network.made).toBe(1);
  });

  test('stays when it answers others while one call runs out of time', async () => {
    const late = ask('never', 400);
    for (let at = 0; at < 6; at += 1) {
      expect(await ask('a', 5_000)).toBe('200');
      await sleep(50);
    }
    expect(await late).toBe('timeout');
    expect(await ask('b', 5_000)).toBe('200');
    expect(network.made).toBe(1);
  });

  test('that is slow alone keeps the calls that are under way, and is closed after them', async () => {
    const long = ask('long', 10_000);
    expect(['timeout', '504']).toContain(await ask('never', 200)); // its server keeps the same deadline, and may be first
    expect(await ask('a', 5_000)).toBe('200');
    expect([network.made, network.open.size]).toEqual([2, 2]);
    server.answerLong();
    expect(await long).toBe('200');
    await until(() => network.open.size === 1);
  });

  test('is followed by a few others at most while calls are under way on all of them', async () => {
    const long: Promise<string>[] = [];
    for (let at = 0; at < 8; at += 1) {
      long.push(ask('never', 3_000));
      expect(['timeout', '504']).toContain(await ask('never', 150));
    }
    expect(network.made).toBe(5);
    for (const told of await Promise.all(long)) expect(['timeout', '504']).toContain(told);
    await until(() => network.open.size <= 1);
    expect(await ask('a', 5_000)).toBe('200');
  });
});
