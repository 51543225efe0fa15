import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { TurnWrites } from '../../gateway/turn-writes.ts';
import { until } from '../fixtures/gateway/control-api.ts';

let server: Server;
let port = 0;
let theirs: Socket[] = [];
const open: Socket[] = [];
beforeEach(async () => {
  theirs = [];
  server = createServer((socket) => {
    socket.on('error', () => undefined);
    theirs.push(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterEach(() => {
  for (const socket of [...open.splice(0), ...theirs]) socket.destroy();
  server.close();
});

/** Our end of a connection, and what its other end has read. */
async function dial(): Promise<{ ours: Socket; peer: Socket; read: () => Buffer }> {
  const ours = connect(port, '127.0.0.1');
  open.push(ours);
  const at = theirs.length;
  await once(ours, 'connect');
  await until(() => theirs.length > at);
  const peer = theirs[at];
  if (peer === undefined) throw new Error('nobody accepted');
  const parts: Buffer[] = [];
  peer.on('data', (bytes: Buffer) => parts.push(bytes));
  return { ours, peer, read: () => Buffer.concat(parts) };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

describe('the writes of a turn', () => {
  test('wait for its end, and then go out in the order in which they were sent', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    expect(writes.send(ours, 'head ', bytes('body'), ' tail')).toBe(true);
    expect(writes.sendChunk(ours, bytes('chunk'), true)).toBe(true);
    expect(ours.bytesWritten).toBe(0);
    await turn();
    expect(ours.bytesWritten).toBeGreaterThan(0);
    const whole = 'head body tail5\r\nchunk\r\n0\r\n\r\n';
    await until(() => read().length >= whole.length);
    expect(read().toString()).toBe(whole);
  });

  test('hold what they were given when they were given it', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    const shared = Buffer.from('first');
    writes.send(ours, '', shared, '');
    shared.write('other');
    writes.send(ours, '', shared, '');
    await until(() => read().length >= 10);
    expect(read().toString()).toBe('firstother');
  });

  test('come before and after what is sent at once for its size, whoever sends', async () => {
    const writes = new TurnWrites();
    const piece = fc.record({
      to: fc.nat(2),
      head: fc.constantFrom('', 'head'),
      size: fc.oneof(fc.nat(64), fc.nat(8_000), fc.nat(80_000)),
      kind: fc.constantFrom('send', 'chunk', 'turn', 'settle'),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 60 }), async (pieces) => {
        const peers = [await dial(), await dial(), await dial()];
        const wanted = peers.map((): Buffer[] => []);
        let count = 0;
        for (const { to, head, size, kind } of pieces) {
          const socket = peers[to]!.ours;
          const payload = Buffer.alloc(size, (count += 1) & 0xff);
          if (kind === 'turn') await turn();
          else if (kind === 'settle') writes.settle(socket);
          else if (kind === 'send') {
            writes.send(socket, head, payload, '\r\n');
            wanted[to]?.push(bytes(head), Buffer.from(payload), bytes('\r\n'));
          } else if (writes.sendChunk(socket, payload, false) !== null)
            wanted[to]?.push(bytes(`${size.toString(16)}\r\n`), Buffer.from(payload), bytes('\r\n'));
          payload.fill(0xee);
        }
        for (const [at, { read }] of peers.entries()) {
          const whole = Buffer.concat(wanted[at] ?? []);
          await until(() => read().length >= whole.length);
          expect(read().equals(whole)).toBe(true);
        }
        for (const { ours } of peers) ours.destroy();
      }),
      { numRuns: 30 },
    );
  });

  test('are never more than their bound: the first of them go when there is no room for the next', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    for (let at = 0; at < 1_000; at += 1) writes.send(ours, 'x', bytes('y'), '');
    expect(ours.bytesWritten).toBeGreaterThanOrEqual(1_400); // three times 256 writes of two bytes
    for (let at = 0; at < 200; at += 1) writes.send(ours, '', Buffer.alloc(4_000, 'z'), '');
    await until(() => read().length >= 802_000);
    expect(read().length).toBe(802_000);
  });

  test.each([1, 16])(
    '%i a turn say no when a client takes nothing, and keep what they were given',
    async (each) => {
      const writes = new TurnWrites();
      const { ours, peer, read } = await dial();
      peer.pause();
      let sent = 0;
      let takesMore = true;
      while (takesMore) {
        takesMore = writes.send(ours, '', Buffer.alloc(4_000, sent % 251), '');
        sent += 1;
        if (sent % each === 0) await turn();
        if (sent > 20_000) throw new Error('it never says no');
      }
      const others = await dial();
      writes.send(others.ours, '', bytes('meanwhile'), '');
      await until(() => others.read().length > 0);
      expect(others.read().toString()).toBe('meanwhile');
      peer.resume();
      await until(() => read().length >= sent * 4_000);
      const all = read();
      for (let at = 0; at < sent; at += 1) {
        if (all[at * 4_000] !== at % 251 || all[at * 4_000 + 3_999] !== at % 251)
          throw new Error(`piece ${at} came as another one`);
      }
    },
  );

  test('to a client that is behind take memory of their own size', async () => {
    const writes = new TurnWrites();
    const { ours, peer } = await dial();
    peer.pause();
    while (ours.writableLength === 0) {
      writes.send(ours, '', Buffer.alloc(4_000), '');
      await turn();
    }
    const before = process.memoryUsage().arrayBuffers;
    for (let at = 0; at < 400; at += 1) writes.send(ours, '', Buffer.alloc(50), '');
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * 1024 * 1024);
  });

  test('to a connection that is gone are dropped, and the others are made', async () => {
    const writes = new TurnWrites();
    const [gone, there] = [await dial(), await dial()];
    writes.send(gone.ours, '', bytes('lost'), '');
    writes.send(there.ours, '', bytes('kept'), '');
    gone.ours.destroy();
    await until(() => there.read().length > 0);
    expect(there.read().toString()).toBe('kept');
    expect(gone.read().toString()).toBe('');
  });

  test('lie between what is done before and what is done after them', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    const order: string[] = [];
    writes.listen({
      isReading: false,
      beforeWrites: () => {
        order.push(`before ${ours.bytesWritten}`);
        writes.send(ours, 'late', bytes(''), '');
      },
      afterWrites: () => order.push(`after ${ours.bytesWritten}`),
    });
    writes.send(ours, 'early ', bytes(''), '');
    await turn();
    expect(order).toEqual(['before 0', 'after 10']);
    await until(() => read().length === 10);
    expect(read().toString()).toBe('early late');
  });
});

describe('pieces that come alone in their turns', () => {
  /** Sends one piece a turn. @returns whether each was written at once */
  async function sendAlone(writes: TurnWrites, socket: Socket, times: number): Promise<boolean[]> {
    const atOnce: boolean[] = [];
    for (let time = 0; time < times; time += 1) {
      const before = socket.bytesWritten;
      writes.send(socket, 'piece', bytes(''), '');
      atOnce.push(socket.bytesWritten > before);
      await turn();
    }
    return atOnce;
  }

  test('are soon written at once', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    const atOnce = await sendAlone(writes, ours, 100);
    expect(atOnce).toEqual(atOnce.map((_, at) => at >= 4));
    await until(() => read().length === 500);
  });

  test('wait again once others come with them, and go in their order', async () => {
    const writes = new TurnWrites();
    const one = await dial();
    const other = await dial();
    await sendAlone(writes, one.ours, 30);
    const sent = () => one.ours.bytesWritten + other.ours.bytesWritten;
    const before = sent();
    writes.send(one.ours, 'a', bytes(''), '');
    writes.send(other.ours, 'b', bytes(''), '');
    writes.send(one.ours, 'c', bytes(''), '');
    expect(sent()).toBe(before + 1);
    await turn();
    for (let time = 0; time < 4; time += 1) {
      const atBegin = sent();
      writes.send(one.ours, 'd', bytes(''), '');
      expect(sent()).toBe(atBegin);
      await turn();
    }
    writes.send(one.ours, 'e', bytes(''), '');
    await until(() => other.read().length === 1 && one.read().toString().endsWith('acdddde'));
  });

  test('if somebody waits for them, go at once before the chunks of streams, which wait', async () => {
    const writes = new TurnWrites();
    const stream = await dial();
    const other = await dial();
    for (let time = 0; time < 6; time += 1) {
      const before = stream.ours.bytesWritten;
      for (let count = 0; count < 3; count += 1) writes.sendChunk(stream.ours, bytes('c'), false);
      const atBegin = other.ours.bytesWritten;
      writes.send(other.ours, 'u', bytes(''), '');
      expect(other.ours.bytesWritten - atBegin).toBe(time < 4 ? 0 : 1);
      expect(stream.ours.bytesWritten).toBe(before);
      await turn();
    }
    await until(() => other.read().length === 6 && stream.read().length === 6 * 3 * 6);
  });

  test('if they are requests, go at once only while a client is read', async () => {
    const writes = new TurnWrites();
    const { ours, read } = await dial();
    const listener = { isReading: false, beforeWrites: () => undefined, afterWrites: () => undefined };
    writes.listen(listener);
    await sendAlone(writes, ours, 30);
    for (const isReading of [true, false, true]) {
      listener.isReading = isReading;
      const before = ours.bytesWritten;
      writes.sendRequest(ours, 'r', bytes(''));
      expect(ours.bytesWritten - before).toBe(isReading ? 1 : 0);
      await turn();
    }
    await until(() => read().length === 153);
  });

  test('go before the work that waits for the end of the turn, which comes behind whoever is at work', async () => {
    const writes = new TurnWrites();
    const { ours } = await dial();
    const seen: string[] = [];
    writes.listen({
      isReading: false,
      beforeWrites: () => seen.push('before'),
      afterWrites: () => seen.push(`after ${String(ours.bytesWritten > 150)}`),
    });
    await sendAlone(writes, ours, 30);
    seen.length = 0;
    writes.awaitTurn();
    writes.send(ours, 'piece', bytes(''), '');
    seen.push('at work');
    await turn();
    expect(seen).toEqual(['at work', 'before', 'after true']);
  });
});
