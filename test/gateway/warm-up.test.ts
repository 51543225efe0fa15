import { createServer } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { defaultLimits } from '../../gateway/limits.ts';
import { warmUp } from '../../gateway/warm-up.ts';

const logger = pino({ level: 'silent' });

describe('the rehearsal before a gateway opens its port', () => {
  test('has its requests answered, and ends by itself', async () => {
    const count = await warmUp({ limits: defaultLimits, logger, version: '0', msMax: 300 });
    expect(count).toBeGreaterThan(50);
  });

  test('leaves no port open', async () => {
    const open = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPServerWrap').length;
    const before = open();
    await warmUp({ limits: defaultLimits, logger, version: '0', msMax: 20 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(open()).toBe(before);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, resolve));
    expect(open()).toBe(before + 1);
    await new Promise((resolve) => server.close(resolve));
  });

  test('ends in its time even where nothing can be served', async () => {
    const count = await warmUp({
      limits: { ...defaultLimits, inFlightMax: 0 },
      logger,
      version: '0',
      msMax: 20,
    });
    expect(count).toBeGreaterThanOrEqual(0);
  });
});
