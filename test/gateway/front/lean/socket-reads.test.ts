import { afterEach, expect, test } from '@jest/globals';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { SocketReads } from '../../../../gateway/front/lean/socket-reads.ts';
import { until } from '../../../fixtures/gateway/control-api.ts';

let server: Server | null = null;
afterEach(() => {
  server?.close();
});

/** A client, and the server's end of its connection. */
async function pair(): Promise<{ client: Socket; socket: Socket }> {
  const made = createServer({ allowHalfOpen: true });
  server = made;
  await new Promise<void>((resolve) => made.listen(0, '127.0.0.1', resolve));
  const client = connect((made.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = (await once(made, 'connection')) as [Socket];
  return { client, socket };
}

test('this node reads a server’s sockets into shared memory: each read lies where the one before it lay', async () => {
  const { client, socket } = await pair();
  const reads = new SocketReads(false);
  const seen: Buffer[] = [];
  const texts: string[] = [];
  const detach = reads.attach(socket, (bytes) => {
    seen.push(bytes);
    texts.push(bytes.toString());
  });
  expect(detach).not.toBeNull(); // else node has moved what `onread` sets: look at socket-reads.ts
  for (const text of ['one', 'two']) {
    client.write(text);
    await until(() => texts.includes(text));
  }
  expect(seen[0]?.buffer).toBe(seen[1]?.buffer);
  expect(seen[0]?.toString()).toBe('two');
  client.destroy();
});

test('a socket that is handed on reads as any other: what came, a pause, and the end', async () => {
  const { client, socket } = await pair();
  const reads = new SocketReads(true);
  const early: string[] = [];
  const detach = reads.attach(socket, (bytes) => early.push(bytes.toString()));
  client.write('ours');
  await until(() => early.length > 0);
  detach?.();
  socket.pause();
  client.write('theirs');
  const texts: Buffer[] = [];
  socket.on('data', (bytes: Buffer) => texts.push(bytes));
  socket.resume();
  await until(() => texts.length > 0);
  client.end('last');
  await once(socket, 'end');
  expect(early).toEqual(['ours']);
  expect(Buffer.concat(texts).toString()).toBe('theirslast'); // kept, so it is no shared memory
  socket.destroy();
});

test('a paused socket is read no more until it goes on, and nothing is lost', async () => {
  const { client, socket } = await pair();
  const reads = new SocketReads(true);
  let bytes = 0;
  reads.attach(socket, (read) => {
    bytes += read.length;
    socket.pause();
  });
  const all = 4 * 1024 * 1024;
  client.write(Buffer.alloc(all));
  await until(() => bytes > 0);
  const paused = bytes;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(bytes).toBe(paused);
  while (bytes < all) {
    const before = bytes;
    socket.resume();
    await until(() => bytes > before);
  }
  expect(bytes).toBe(all);
  client.destroy();
  socket.destroy();
});

test('what is encrypted is not read so', async () => {
  const { client, socket } = await pair();
  const tls = new TLSSocket(socket, { isServer: true });
  expect(new SocketReads(false).attach(tls, () => undefined)).toBeNull();
  tls.destroy();
  client.destroy();
});
