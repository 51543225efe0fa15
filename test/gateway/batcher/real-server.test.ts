import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeResponse } from '../../../domain/inference-protocol/response.ts';
import { encodeRequest } from '../../../domain/inference-protocol/request.ts';
import type { Tensor } from '../../../domain/inference-protocol/datatypes.ts';
import { get, startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service } from '../../fixtures/gateway/tables.ts';
import { fixtureModel, startModelServer } from '../../fixtures/runtime/server.ts';
import type { ModelServer } from '../../fixtures/runtime/server.ts';

const models = new URL('../../../deploy/samples/models/', import.meta.url).pathname;

interface Sent {
  readonly path: string;
  readonly body: Uint8Array;
  readonly headers: Record<string, string>;
}

async function ask(url: string, { path, body, headers }: Sent) {
  const answer = await fetch(url + path, { method: 'POST', body: Buffer.from(body), headers });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, head: answer.headers.get('inference-header-content-length'), bytes };
}

type Answer = Awaited<ReturnType<typeof ask>>;

/** All of an answer, with the second output of V2, floating-point numbers, apart. */
function decoded({ status, head, bytes }: Answer) {
  const isV2 = bytes.includes('"outputs"');
  if (!isV2) return { status, head, text: bytes.toString(), outputs: [], id: '', probabilities: [] };
  const { outputs, id, modelName } = decodeResponse({ body: bytes, headerLength: head ?? undefined }, 'iris');
  const probabilities = [...((outputs[1]?.data ?? []) as Float32Array)];
  return {
    status,
    head,
    text: modelName,
    outputs: outputs.map((one, at) => (at === 1 ? { ...one, data: [] } : one)),
    id,
    probabilities,
  };
}

/** Our own model server, through a gateway with a batcher and without one. */
describe('batched answers of a real server', () => {
  let iris: ModelServer;
  let echo: ModelServer;
  let gateway: TestGateway;
  beforeAll(async () => {
    iris = await startModelServer(['--model_name=iris', `--model_dir=${models}iris`]);
    echo = await startModelServer(['--model_name=echo', `--model_dir=${fixtureModel('echo')}`]);
    const batcher = { maxBatchSize: 8, maxLatencyMs: 15, timeoutMs: 10_000 };
    gateway = await startTestGateway({}, [
      service('iris', { ready: [iris.url], batcher }),
      service('echo', { ready: [echo.url], batcher }),
    ]);
  }, 60_000);
  afterAll(async () => {
    await gateway.close();
    await iris.end();
    await echo.end();
  });

  const row = fc.array(fc.float({ min: Math.fround(0.1), max: 8, noNaN: true }), {
    minLength: 4,
    maxLength: 4,
  });
  const rows = fc.array(row, { minLength: 1, maxLength: 3 });

  function irisRequest(values: number[][], id: string, form: 'v1' | 'json' | 'nested' | 'binary'): Sent {
    const json = { 'content-type': 'application/json' };
    if (form === 'v1')
      return {
        path: '/v1/models/iris:predict',
        body: Buffer.from(JSON.stringify({ instances: values })),
        headers: json,
      };
    const path = '/v2/models/iris/infer';
    const shape = [values.length, 4];
    if (form === 'nested') {
      const inputs = [{ name: 'X', shape, datatype: 'FP32', data: values }];
      return { path, body: Buffer.from(JSON.stringify({ id, inputs })), headers: json };
    }
    const isBinary = form === 'binary';
    const inputs: Tensor[] = [
      { name: 'X', datatype: 'FP32', shape, parameters: {}, data: Float32Array.from(values.flat()) },
    ];
    const request = {
      id,
      parameters: isBinary ? { binary_data_output: true } : {},
      inputs,
      outputs: undefined,
    };
    const { body, headerLength, contentType } = encodeRequest(request, () => isBinary);
    const headers: Record<string, string> = { 'content-type': contentType };
    if (headerLength !== undefined) headers['inference-header-content-length'] = String(headerLength);
    return { path, body, headers };
  }

  /** Labels, ids, shapes and form to the byte; probabilities as near as one model's sums in another order are. */
  function expectEqual(batched: Answer[], alone: Answer[]): void {
    const [mine, theirs] = [batched.map(decoded), alone.map(decoded)];
    mine.forEach((one, at) => {
      const other = theirs[at];
      expect(one.probabilities).toHaveLength(other?.probabilities.length ?? -1);
      one.probabilities.forEach((value, index) => {
        expect(Math.abs(value - (other?.probabilities[index] ?? NaN))).toBeLessThan(1e-6);
      });
      expect({ ...one, probabilities: [] }).toEqual({ ...other, probabilities: [] });
    });
  }

  test('are those of each request alone in every form', async () => {
    const form = fc.constantFrom('v1', 'json', 'nested', 'binary');
    const requests = fc.array(fc.record({ rows, form }), { minLength: 2, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(requests, async (list) => {
        const sent = list.map((one, at) => irisRequest(one.rows, `id-${at}`, one.form as 'v1'));
        const alone = await Promise.all(sent.map((one) => ask(iris.url, one)));
        const batched = await Promise.all(sent.map((one) => ask(gateway.url, one)));
        expectEqual(batched, alone);
        expect(alone.every(({ status }) => status === 200)).toBe(true);
      }),
      { numRuns: 40 },
    );
    const { text } = await get(`${gateway.url}/metrics`);
    const joined = Number(/muster_gateway_batcher_requests_total\{way="joined"\} (\d+)/.exec(text)?.[1]);
    expect(joined).toBeGreaterThan(40);
    expect(text).toMatch(/muster_gateway_batcher_requests_total\{way="again"\} 0/);
  }, 60_000);

  test('are right for good requests beside bad ones, which get their own refusals', async () => {
    const good = irisRequest([[5.1, 3.5, 1.4, 0.2]], 'good', 'json');
    const body = Buffer.from(
      '{"id":"bad","inputs":[{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,"x",4]}]}',
    );
    const bad = { ...good, body };
    const alone = [await ask(iris.url, good), await ask(iris.url, bad), await ask(iris.url, good)];
    const batched = await Promise.all([good, bad, good].map((one) => ask(gateway.url, one)));
    expect(batched[1]).toEqual(alone[1]);
    expect(batched.map(({ status }) => status)).toEqual([200, 400, 200]);
    expectEqual([batched[0]!, batched[2]!], [alone[0]!, alone[2]!]);
  });

  test('keep every digit of every datatype', async () => {
    const type = (datatype: Tensor['datatype'], data: unknown, name: string) =>
      ({ name: `in_${name}`, datatype, shape: [2], parameters: {}, data }) as Tensor;
    const tensors = (at: number): Tensor[] => [
      type('BOOL', Uint8Array.of(at % 2, 1), 'BOOL'),
      type('UINT8', Uint8Array.of(at, 255), 'UINT8'),
      type('UINT16', Uint16Array.of(at, 65_535), 'UINT16'),
      type('UINT32', Uint32Array.of(at, 4_294_967_295), 'UINT32'),
      type('UINT64', BigUint64Array.of(BigInt(at), 18_446_744_073_709_551_615n), 'UINT64'),
      type('INT8', Int8Array.of(at, -128), 'INT8'),
      type('INT16', Int16Array.of(at, -32_768), 'INT16'),
      type('INT32', Int32Array.of(at, -2_147_483_648), 'INT32'),
      type('INT64', BigInt64Array.of(BigInt(at), 9_007_199_254_740_993n), 'INT64'),
      type('FP16', Uint16Array.of(at, 0x3555), 'FLOAT16'),
      type('FP32', Float32Array.of(at / 3, 0.1), 'FLOAT'),
      type('FP64', Float64Array.of(at / 3, 0.1), 'DOUBLE'),
      type('BYTES', [Buffer.from(`row ${at}`), Buffer.from('é "\\')], 'STRING'),
    ];
    const send = (at: number, isBinary: boolean): Sent => {
      const outputs = tensors(at).map(({ name, datatype }) => ({
        name: name.replace('in_', 'out_'),
        parameters: { binary_data: isBinary || datatype === 'FP16' },
      }));
      const request = { id: `id ${at}`, parameters: {}, inputs: tensors(at), outputs };
      const { body, headerLength } = encodeRequest(request, () => isBinary);
      return {
        path: '/v2/models/echo/infer',
        body,
        headers: {
          'content-type': 'application/octet-stream',
          'inference-header-content-length': String(headerLength),
        },
      };
    };
    for (const isBinary of [false, true]) {
      const sent = [0, 1, 2, 3].map((at) => send(at, isBinary));
      const alone = await Promise.all(sent.map((one) => ask(echo.url, one)));
      const batched = await Promise.all(sent.map((one) => ask(gateway.url, one)));
      expect(alone.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      expect(batched).toEqual(alone);
    }
  });
});
