import { request } from 'undici';
import type { Workload } from '../../../domain/workload/workload.ts';
import { acceptsConnections } from './port.ts';

/** One readiness probe, as a kubelet's: 200 to 399 within the time is ready; without a path an open port is. */
export async function probe(
  readiness: Workload['readiness'],
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (readiness.path === null) return await acceptsConnections(host, port, readiness.timeoutMs);
  try {
    const { statusCode, body } = await request(`http://${host}:${String(port)}${readiness.path}`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(readiness.timeoutMs)]),
      // A new connection each time: a server that accepts nobody new is not ready.
      reset: true,
    });
    await body.dump({ limit: 64 * 1024, signal: AbortSignal.timeout(readiness.timeoutMs) });
    return statusCode >= 200 && statusCode < 400;
  } catch {
    return false;
  }
}

/** Pause before the next probe: fast while a replica starts (100 ms, doubling), then the workload's period. */
export function nextProbeMs(readiness: Workload['readiness'], starting: boolean, attempts: number): number {
  if (!starting) return readiness.periodMs;
  return Math.min(readiness.periodMs, 100 * 2 ** Math.min(attempts >> 3, 10));
}
