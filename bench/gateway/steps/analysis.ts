import { readFileSync, writeFileSync } from 'node:fs';

/**
 * What the instructions of a request belong to. Each is counted for the JavaScript function that was at work, with all that it
 * calls of node and V8. Lines and pages are those of code that nobody before it had touched: what a request that
 * comes alone has to fetch, since others have taken the caches meanwhile.
 */
export interface Share {
  readonly name: string;
  instructions: number;
  /** Of 64 bytes. */
  lines: number;
  /** Of 4 KiB. */
  pages: number;
}

/** What is needed to know addresses by name. */
export interface Maps {
  /** /proc/PID/maps. */
  readonly memory: string;
  /** /tmp/perf-PID.map, of `--perf-basic-prof`. */
  readonly compiled: string;
  readonly root: string;
}

/** Node's own clockwork, which is stirred by being so slow. */
const clockwork =
  /timers:|priority_queue|linkedlist|checkConnections|debuglog|async_context_frame|async_hooks/;

/** @param addresses of instructions, in their order @returns most lines first; the last one is all of them */
export function sharesOf(addresses: BigUint64Array, maps: Maps): Share[] {
  const nameOf = namer(maps);
  const shares = new Map<string, Share>();
  const lines = new Set<number>();
  const pages = new Set<number>();
  const all: Share = { name: 'all', instructions: 0, lines: 0, pages: 0 };
  let atWork = '(node)';
  for (const each of addresses) {
    const address = Number(each);
    atWork = nameOf(address) ?? atWork;
    if (clockwork.test(atWork)) continue;
    const share = shares.get(atWork) ?? { name: atWork, instructions: 0, lines: 0, pages: 0 };
    shares.set(atWork, share);
    for (const one of [share, all]) one.instructions += 1;
    if (note(lines, address, 64)) for (const one of [share, all]) one.lines += 1;
    if (note(pages, address, 4096)) for (const one of [share, all]) one.pages += 1;
  }
  return [...[...shares.values()].sort((a, b) => b.lines - a.lines), all];
}

/** @returns whether its unit of memory is seen for the first time */
function note(seen: Set<number>, address: number, unit: number): boolean {
  const at = Math.floor(address / unit);
  if (seen.has(at)) return false;
  seen.add(at);
  return true;
}

/** @returns the JavaScript function that an address is in; null: none */
function namer({ memory, compiled, root }: Maps): (address: number) => string | null {
  const code = memory
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*$/.exec(line))
    .filter((parts) => parts?.[3]?.includes('x') === true)
    .map((parts) => [parseInt(parts?.[1] ?? '', 16), parseInt(parts?.[2] ?? '', 16)] as const);
  const functions = compiled
    .split('\n')
    .map((line) => /^([0-9a-f]+) ([0-9a-f]+) (JS:.*)$/.exec(line))
    .flatMap((parts) =>
      parts === null
        ? []
        : [{ from: parseInt(parts[1] ?? '', 16), size: parseInt(parts[2] ?? '', 16), name: parts[3] ?? '' }],
    )
    .sort((a, b) => a.from - b.from); // stable: of what lay in one place, the last one counts
  const known = new Map<number, string | null>();
  const find = (address: number): string | null => {
    if (!code.some(([from, to]) => address >= from && address < to)) return null;
    let low = 0;
    let high = functions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((functions[middle]?.from ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    const found = functions[low - 1];
    if (found === undefined || address >= found.from + found.size) return null;
    return found.name.replace(/^JS:[^A-Za-z]*/, '').replace(`file://${root}`, '');
  };
  return (address) => {
    const name = known.get(address);
    if (name !== undefined) return name;
    const found = find(address);
    known.set(address, found);
    return found;
  };
}

/** Pages of its memory that a process touched since `clearTouched`: data and code (proc(5), clear_refs and smaps). */
export function touchedPages(pid: number): number {
  const kilobytes = [...readFileSync(`/proc/${pid}/smaps`, 'utf8').matchAll(/^Referenced:\s+(\d+)/gm)];
  return kilobytes.reduce((sum, parts) => sum + Number(parts[1]) / 4, 0);
}

export function clearTouched(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '1');
}
