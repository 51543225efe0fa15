import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { copyFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { Server, ServerOptions } from 'node:https';
import type { AddressInfo } from 'node:net';
import { TLSSocket } from 'node:tls';
import { socketUpstreams } from '../../../../gateway/upstream/socket/socket-upstream.ts';
import { upstreamTls } from '../../../../gateway/upstream/socket/tls-files.ts';
import type { UpstreamTlsOptions } from '../../../../gateway/upstream/socket/tls-files.ts';
import type { Upstream } from '../../../../gateway/upstream/upstream.ts';
import { echo, startBackend } from '../../../fixtures/gateway/backends.ts';
import { requirePart, runs } from '../../../fixtures/require.ts';
import { ask, text } from '../../../fixtures/upstream/ask.ts';
import { makeCertificates } from '../../../fixtures/upstream/certificates.ts';
import type { Certificates } from '../../../fixtures/upstream/certificates.ts';

const hasOpenssl = runs('openssl', ['version']);
const test = requirePart('openssl', hasOpenssl, 'install openssl');

describe('TLS towards servers', () => {
  let made: Certificates;
  const servers: Server[] = [];
  const upstreams: Upstream[] = [];
  beforeAll(() => {
    if (!hasOpenssl) return;
    made = makeCertificates();
    for (const name of ['ca', 'stranger']) made.authority(name);
    made.issue('server', 'ca', '127.0.0.1');
    made.issue('named', 'ca', 'model.internal');
    made.issue('client', 'ca', 'gateway');
    made.issue('false', 'stranger', '127.0.0.1');
  });
  afterEach(() => {
    for (const upstream of upstreams.splice(0)) upstream.close();
    for (const server of servers.splice(0)) server.close();
  });
  afterAll(() => {
    if (hasOpenssl) made.close();
  });

  /** Answers with the client's name, the TLS session's reuse, and the length of what it was sent. */
  async function serve(name: string, options: ServerOptions = {}): Promise<string> {
    const keys = { cert: made.read(`${name}.crt`), key: made.read(`${name}.key`) };
    const server = createServer({ ...keys, ca: made.read('ca.crt'), ...options }, (request, response) => {
      const { socket } = request;
      if (!(socket instanceof TLSSocket)) throw new Error('not TLS');
      let bytes = 0;
      request.on('data', (chunk: Buffer) => (bytes += chunk.length));
      request.on('end', () => {
        const { CN = 'nobody' } = { ...socket.getPeerCertificate().subject };
        response.end(`${String(CN)} ${socket.isSessionReused()} ${bytes}`);
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  function open(address: string, files: UpstreamTlsOptions, onRefused = () => undefined): Upstream {
    const nowMs = () => performance.now();
    const upstream = socketUpstreams({ nowMs, tls: upstreamTls(files, nowMs, onRefused, 0) })(address);
    upstreams.push(upstream);
    return upstream;
  }
  const ours = () => ({
    caPath: made.path('ca.crt'),
    certPath: made.path('client.crt'),
    keyPath: made.path('client.key'),
  });
  const asking = { requestCert: true, rejectUnauthorized: true };

  test('a server that asks for a certificate is shown ours; the connection is used again', async () => {
    const upstream = open(await serve('server', asking), ours());
    for (const size of [0, 10, 70_000, 1_000_000]) {
      const seen = await ask(upstream, { body: Buffer.alloc(size) }).outcome;
      expect([seen.failure, text(seen)]).toEqual([null, `client false ${size}`]);
    }
  });

  test('without a certificate of ours such a server refuses us, and no answer is made up', async () => {
    const upstream = open(await serve('server', asking), { caPath: made.path('ca.crt') });
    const { failure, status } = await ask(upstream).outcome;
    expect(status).toBe(0);
    expect(failure?.code).toMatch(/ERR_SSL|ECONNRESET|UPSTREAM_CLOSED/);
  });

  test.each([
    [
      'another authority',
      'false',
      {},
      'SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    ],
    ['another name', 'named', {}, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ])(
    'a server with a certificate of %s is refused, and never sent anything',
    async (_name, server, more, code) => {
      const upstream = open(await serve(server), { ...ours(), ...more });
      const seen = await ask(upstream).outcome;
      expect(seen.events).toEqual(['failure']);
      expect(seen.failure).toMatchObject({ kind: 'refused', code: expect.stringMatching(code) as unknown });
    },
  );

  test('the name that certificates bear can be set', async () => {
    const upstream = open(await serve('named'), { ...ours(), serverName: 'model.internal' });
    expect((await ask(upstream).outcome).status).toBe(200);
  });

  test('without an authority of ours the system decides, and a private one is none of its', async () => {
    const { failure } = await ask(open(await serve('server'), {})).outcome;
    expect(failure?.kind).toBe('refused');
  });

  test('a server that speaks no TLS is refused, and plain words to one that does are no answer', async () => {
    const plain = await startBackend(echo);
    const seen = await ask(open(plain.address.replace('http:', 'https:'), ours())).outcome;
    await plain.close();
    expect([seen.events, seen.failure?.kind, plain.seen.length]).toEqual([['failure'], 'refused', 0]);
    const other = await ask(open((await serve('server')).replace('https:', 'http:'), ours())).outcome;
    expect(other.status === 0 || other.status === 400).toBe(true);
  });

  test('new connections take renewed files; bad ones are told of and the old stay', async () => {
    const files = { caPath: made.path('now.crt') };
    copyFileSync(made.path('stranger.crt'), files.caPath);
    let refused = 0;
    const upstream = open(await serve('server'), files, () => void (refused += 1));
    expect((await ask(upstream).outcome).failure?.kind).toBe('refused');
    copyFileSync(made.path('ca.crt'), files.caPath);
    expect((await ask(upstream, { headers: ['connection', 'close'] }).outcome).status).toBe(200);
    copyFileSync(made.path('server.ext'), files.caPath);
    upstream.close();
    expect((await ask(upstream).outcome).status).toBe(200);
    expect(refused).toBe(1);
  });

  test('a certificate without its key is refused at the start', () => {
    expect(() =>
      upstreamTls(
        { certPath: 'x' },
        () => 0,
        () => undefined,
      ),
    ).toThrow('both paths');
  });
});
