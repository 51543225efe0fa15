import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Where the gateway's time goes: V8's profile of a whole run, as shares of the time in which it did anything. */
interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

export interface Profile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export function readProfiles(folder: string): Profile[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.cpuprofile'))
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Profile);
}

/** Loading, compiling and rehearsing are none of a request's costs. */
const startUs = 5_000_000;

/** Markdown tables: self time by file, and by function. */
export function profileReport(profiles: readonly Profile[], root: string): string {
  const byFile = new Map<string, number>();
  const byFunction = new Map<string, number>();
  let whole = 0;
  for (const { nodes, samples, timeDeltas } of profiles) {
    const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
    let elapsedUs = 0;
    samples.forEach((id, at) => {
      const frame = frames.get(id);
      const us = timeDeltas[at] ?? 0;
      elapsedUs += us;
      if (elapsedUs < startUs) return;
      if (frame === undefined || frame.functionName === '(idle)') return;
      whole += us;
      const file = place(frame.url, root);
      const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
      add(byFile, file === '' ? name : file, us);
      add(byFunction, file === '' ? name : `${name} ${file}:${frame.lineNumber + 1}`, us);
    });
  }
  const rows = (of: ReadonlyMap<string, number>, most: number) =>
    [...of]
      .sort(([, a], [, b]) => b - a)
      .slice(0, most)
      .map(([name, us]) => `| ${name} | ${((100 * us) / Math.max(1, whole)).toFixed(1)} |`)
      .join('\n');
  const head = (what: string) => `| ${what} | % of its busy time |\n| --- | --- |\n`;
  return `${head('file')}${rows(byFile, 40)}\n\n${head('function')}${rows(byFunction, 60)}\n`;
}

function place(url: string, root: string): string {
  const path = url.replace('file://', '');
  return path.startsWith(root) ? path.slice(root.length) : path;
}

function add(into: Map<string, number>, key: string, value: number): void {
  into.set(key, (into.get(key) ?? 0) + value);
}
