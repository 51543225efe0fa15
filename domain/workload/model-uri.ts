import { displayUri } from '../storage/display-uri.ts';
import type { Workload } from './workload.ts';

/** Where a workload's (first) model comes from, for people; null when it needs none. */
export function modelUriOf(workload: Workload | undefined): string | null {
  const uri = workload?.models[0]?.uri;
  return uri === undefined ? null : displayUri(uri);
}
