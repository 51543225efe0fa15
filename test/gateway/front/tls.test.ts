import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals';
import { pino } from 'pino';
import type { Exchange } from '../../../gateway/front/exchange.ts';
import { TlsFiles } from '../../../gateway/front/tls-files.ts';
import type { GatewayLimits } from '../../../gateway/limits.ts';
import { RawClient, readerOf, startFront, tell } from '../../fixtures/front/front.ts';
import type { TestFront } from '../../fixtures/front/front.ts';
import { until } from '../../fixtures/gateway/control-api.ts';
import { requirePart, runs } from '../../fixtures/require.ts';

const test = requirePart('openssl', runs('openssl', ['version']), 'it makes the certificates: install it');

const folder = mkdtempSync(join(tmpdir(), 'muster-tls-'));
const at = (name: string): string => join(folder, name);
const openssl = (...args: string[]): void => {
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
};

/** A certificate of an authority, or of itself. */
function make(name: string, names: string, authority?: string): void {
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
  openssl('req', '-new', '-key', `${name}.key`, '-subj', `/O=Muster/CN=${name}`, '-out', `${name}.csr`);
  writeFileSync(at(`${name}.ext`), `subjectAltName=${names}\n`);
  const signer =
    authority === undefined
      ? ['-signkey', `${name}.key`]
      : ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial'];
  openssl(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    ...signer,
    '-days',
    '2',
    '-extfile',
    `${name}.ext`,
    '-out',
    `${name}.crt`,
  );
}

type TlsClient = RawClient & { readonly tls: TLSSocket };

describe('TLS for clients', () => {
  const closers: (() => unknown)[] = [];
  beforeAll(() => {
    if (!runs('openssl', ['version'])) return;
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'ca.key');
    openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/CN=ca', '-days', '2', '-out', 'ca.crt');
    make('server', 'DNS:localhost', 'ca');
    make('renewed', 'DNS:localhost', 'ca');
    make('alice', 'DNS:alice.example,URI:spiffe://muster/ns/team-a/sa/alice', 'ca');
    make('mallory', 'DNS:alice.example');
  }, 60_000);
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  async function start(
    more: object = {},
    handle = tell,
    limits: Partial<GatewayLimits> = {},
  ): Promise<TestFront> {
    copyFileSync(at('server.crt'), at('live.crt'));
    copyFileSync(at('server.key'), at('live.key'));
    const front = await startFront({
      tls: { certPath: at('live.crt'), keyPath: at('live.key'), ...more },
      handle,
      limits,
    });
    closers.push(() => front.close());
    return front;
  }
  async function dialTls(front: TestFront, options: ConnectionOptions = {}): Promise<TlsClient> {
    const socket = connect({
      port: front.port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: readFileSync(at('ca.crt')),
      ...options,
    });
    closers.push(() => socket.destroy());
    const client = new RawClient(socket);
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    return Object.assign(client, { tls: socket });
  }
  const as = (name: string): ConnectionOptions => ({
    cert: readFileSync(at(`${name}.crt`)),
    key: readFileSync(at(`${name}.key`)),
  });
  const request = 'POST /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc';
  const odd = 'PUT /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc';

  test.each([
    ['own', request],
    ['node', odd],
  ])('requests are read as without it (%s)', async (reader, text) => {
    const front = await start();
    for (let cut = 0; cut < text.length; cut += 7) {
      const client = await dialTls(front, { ALPNProtocols: ['h2', 'http/1.1'] });
      expect(client.tls.alpnProtocol).toBe('http/1.1');
      await client.write(text.slice(0, cut), text.slice(cut));
      await client.closed();
      expect(client.answers()).toMatchObject([{ status: 200 }]);
    }
    expect(new Set(front.seen.map(readerOf))).toEqual(new Set([reader]));
    expect(front.seen[0]?.peer).toBeNull();
  });

  test('requests sent ahead are answered in order, and too many end their connection with a reason', async () => {
    const front = await start();
    const ahead = odd.replace('connection: close\r\n', '');
    const client = await dialTls(front);
    await client.write(ahead.repeat(20));
    await until(() => client.answers().length === 20);
    await client.write(ahead.repeat(1_000));
    await client.closed();
    const statuses = client.answers().map(({ status }) => status);
    expect([statuses.at(-2), statuses.at(-1)]).toEqual([200, 400]);
  });

  test.each([request, odd])('a verified certificate says who asks', async (text) => {
    const peers: unknown[] = [];
    const front = await start({ clientCaPath: at('ca.crt'), requireClientCertificate: true }, (exchange) => {
      peers.push(exchange.peer);
      tell(exchange);
    });
    const client = await dialTls(front, as('alice'));
    await client.write(text);
    await client.closed();
    expect(peers[0]).toEqual({
      commonName: 'alice',
      names: ['DNS:alice.example', 'URI:spiffe://muster/ns/team-a/sa/alice'],
      fingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/) as unknown,
    });
  });

  test.each<[string, () => ConnectionOptions]>([
    ['no certificate', () => ({})],
    ['one of another authority', () => as('mallory')],
  ])('where one is required, %s is refused before any request', async (_what, options) => {
    const front = await start({ clientCaPath: at('ca.crt'), requireClientCertificate: true });
    const client = await dialTls(front, options()).catch(() => null);
    await client?.write(request).catch(() => undefined);
    await client?.closed();
    expect(client?.text ?? '').toBe('');
    expect(front.seen).toEqual([]);
  });

  test('where none is required, one of another authority makes nobody of its bearer', async () => {
    const front = await start({ clientCaPath: at('ca.crt') });
    const client = await dialTls(front, as('mallory'));
    await client.write(request);
    await client.closed();
    expect(front.seen.map(({ peer }) => peer)).toEqual([null]);
  });

  test('plain HTTP on a TLS port ends without an answer', async () => {
    const front = await start();
    const answer = await fetch(`http://127.0.0.1:${front.port}/`).catch(() => null);
    expect(answer).toBeNull();
    expect(front.seen).toEqual([]);
  });

  test('a renewed certificate is used without a restart; one that is of no use is not', async () => {
    const front = await start();
    const serial = async (): Promise<string> => {
      const client = await dialTls(front);
      const { serialNumber } = client.tls.getPeerCertificate();
      client.socket.destroy();
      return serialNumber;
    };
    const first = await serial();
    const open = await dialTls(front);
    writeFileSync(at('live.crt'), 'not a certificate');
    await until(async () => (await front.metric('muster_gateway_front_certificates_refused_total')) === 1);
    expect(await serial()).toBe(first);
    copyFileSync(at('renewed.key'), at('live.key'));
    copyFileSync(at('renewed.crt'), at('live.crt'));
    await until(async () => (await serial()) !== first);
    await open.write(request); // the connection of before goes on
    await open.closed();
    expect(open.answers()).toMatchObject([{ status: 200 }]);
  }, 30_000);

  test('a client that reads slowly has all of its answer, one that reads nothing is cut', async () => {
    const over: boolean[] = [];
    const large = (exchange: Exchange): void => {
      exchange.onClose((isWhole) => over.push(isWhole));
      exchange.start(200, []);
      exchange.write(Buffer.alloc(24 * 1024 * 1024, 'x'));
      exchange.end();
    };
    const front = await start({}, large, { clientStallMs: 700 });
    const slow = await dialTls(front);
    slow.readSlowly(2); // a record of 16 KiB each time
    await slow.write(request);
    await until(() => over.length === 1);
    const deaf = await dialTls(front);
    await deaf.write(request);
    deaf.socket.pause();
    await until(() => over.length === 2);
    expect(over).toEqual([true, false]);
  }, 60_000);

  test('a client certificate cannot be required without an authority to check it', () => {
    expect(
      () =>
        new TlsFiles(
          { certPath: at('server.crt'), keyPath: at('server.key'), requireClientCertificate: true },
          pino({ level: 'silent' }),
        ),
    ).toThrow('clientCaPath');
  });
});
