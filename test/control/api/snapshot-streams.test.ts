import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { once } from 'node:events';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { SnapshotStreams } from '../../../control/api/snapshot-streams.ts';

/** Larger than the buffers of both sockets together, so that a reader that does not read blocks the writer. */
const large = 'x'.repeat(16 * 1024 * 1024);

describe('SnapshotStreams', () => {
  let latest: string;
  let streams: SnapshotStreams;
  let server: Server;
  let sockets: Socket[];
  let closed: number;

  beforeEach(async () => {
    latest = 'first';
    closed = 0;
    sockets = [];
    server = createServer((_request, response) => {
      streams.open(response, () => {
        closed += 1;
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    streams.close();
    for (const socket of sockets) socket.destroy();
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const make = (options: { stuckMs: number; heartbeatMs?: number }) => {
    streams = new SnapshotStreams({ heartbeatMs: 20, streamsMax: 2, ...options, latest: () => latest });
  };
  /** Asks for the stream and reads nothing of it yet. */
  async function reader(): Promise<Socket> {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    sockets.push(socket);
    socket.pause();
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    const before = streams.size;
    socket.write('GET / HTTP/1.0\r\nHost: x\r\n\r\n');
    while (streams.size === before) await sleep(2);
    return socket;
  }

  test('a slow reader gets the newest snapshot when it reads again, not all it missed', async () => {
    make({ stuckMs: 60_000 });
    latest = large;
    const socket = await reader();
    for (let i = 1; i <= 1000; i++) {
      latest = `snapshot ${i}`;
      streams.push();
    }
    let text = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => {
      text += String(chunk);
    });
    socket.resume();
    while (!text.includes('snapshot 1000\n')) await sleep(5);
    expect(text.match(/snapshot \d+/g)).toEqual(['snapshot 1000']);
  });

  test('a reader that takes nothing for too long is disconnected, and others are not', async () => {
    make({ stuckMs: 50 });
    const good = await reader();
    good.resume();
    latest = large;
    await reader();
    expect(streams.isFull).toBe(true);
    while (closed === 0) await sleep(5);
    expect(streams.size).toBe(1);
    expect(streams.isFull).toBe(false);
  });

  test('closing ends every stream', async () => {
    make({ stuckMs: 60_000 });
    const socket = await reader();
    socket.resume();
    streams.close();
    await once(socket, 'end');
    while (closed === 0) await sleep(2);
    expect(streams.size).toBe(0);
  });
});
