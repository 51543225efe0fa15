import { openSync, writeSync } from 'node:fs';

/**
 * Keeps all CPUs awake until this process ends, as cyclictest and tuned's latency profiles do: a CPU that may sleep, above all
 * a virtual one, takes longer to wake than any gateway to pass a request on, and has lost its caches meanwhile. What
 * is measured then is the machine.
 * @param device Linux's place for the longest wake-up that a process bears (Documentation/power/pm_qos_interface.rst)
 * @returns null; else why they may sleep
 */
export function keepAwake(device = '/dev/cpu_dma_latency'): string | null {
  try {
    const never = Buffer.alloc(4); // microseconds, a 32-bit number; it holds as long as the file is open
    writeSync(openSync(device, 'w'), never);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
