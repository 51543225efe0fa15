import type { ServiceRoute } from '../route-table/route-table.schema.ts';
import type { ResilienceSettings } from './settings.ts';

/**
 * When an endpoint is asked for its health, and what its answer means. A server that is well is asked seldom and one
 * that fails often; each good answer doubles the pause. Where the path is our guess and the server has none such (404,
 * 405, 501), it lives: only a server that says 5xx, or says nothing, is ill.
 */
export function healthPath(route: Pick<ServiceRoute, 'protocols'>, path: string | null): string {
  if (path !== null) return path;
  if (route.protocols.includes('openai')) return '/health';
  return route.protocols.includes('v2') ? '/v2/health/ready' : '/';
}

export function isWell(status: number): boolean {
  return status < 500 || status === 501;
}

/** @param lastMs the pause before this answer; 0: there was none */
export function nextPauseMs(
  lastMs: number,
  isGood: boolean,
  rules: Pick<ResilienceSettings['activeHealth'], 'intervalMs' | 'intervalMsMax'>,
): number {
  if (!isGood || lastMs === 0) return rules.intervalMs;
  return Math.min(Math.max(rules.intervalMs, rules.intervalMsMax), lastMs * 2);
}
