import perfHooks from 'node:perf_hooks';
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';

/**
 * Imported into a gateway whose instructions are counted one by one: a thousand times slower than its clock, it would do
 * nothing but its timers. Intervals never come, and what is to be waited for after the start is waited for for ever.
 */
const startMs = 30_000;
const never = { unref: () => never, ref: () => never, [Symbol.toPrimitive]: () => 0 };
const { setTimeout: timeout } = globalThis;
const { setTimeout: sleep } = timers;
const lag = { min: 0, max: 0, mean: 0, stddev: 0 };
const monitor = {
  ...lag,
  enable: () => true,
  disable: () => true,
  reset: () => undefined,
  percentile: () => 0,
};

Object.assign(globalThis, {
  setInterval: () => never,
  setTimeout: (...given: Parameters<typeof timeout>) =>
    performance.now() > startMs ? never : timeout(...given),
});
Object.assign(timers, {
  setTimeout: (...given: Parameters<typeof sleep>) =>
    performance.now() > startMs ? new Promise(() => undefined) : sleep(...given),
});
Object.assign(perfHooks, { monitorEventLoopDelay: () => monitor });
syncBuiltinESMExports();
