import { constants, closeSync, fstatSync, openSync, readFileSync, writeSync } from 'node:fs';

/** Where the system is asked. */
export interface AwakePlaces {
  /** Linux's place for the longest wake-up that a process bears (Documentation/power/pm_qos_interface.rst). */
  readonly device: string;
  /** What lets CPUs sleep; with `none` the system halts them, whatever the device was told. */
  readonly driver: string;
}

const linux: AwakePlaces = {
  device: '/dev/cpu_dma_latency',
  driver: '/sys/devices/system/cpu/cpuidle/current_driver',
};

/**
 * Keeps all CPUs awake until this process ends, as cyclictest and tuned's latency profiles do: a CPU that may sleep, above all
 * a virtual one, takes longer to wake than any gateway to pass a request on, and has lost its caches meanwhile. What
 * is measured then is the machine.
 * @returns null; else why they may sleep
 */
export function keepAwake({ device, driver }: AwakePlaces = linux): string | null {
  try {
    const name = readFileSync(driver, 'utf8').trim();
    if (name === 'none') return `${driver} says none: nothing here keeps a CPU awake`;
    const file = openSync(device, constants.O_WRONLY); // never makes one
    if (!fstatSync(file).isCharacterDevice()) {
      closeSync(file);
      return `${device} is no device`;
    }
    writeSync(file, Buffer.alloc(4)); // microseconds, a 32-bit number; it holds as long as the file is open
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
