import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { members } from './children.ts';
import type { Contender } from './contenders.ts';
import { admin, runLoad, startContender } from './measure.ts';
import type { Bench } from './measure.ts';

/**
 * W6: many streams are open all the time, each with a chunk a second for half a minute, then the next in its place.
 * Told is whether the gateway's memory grows: its first quarter is left out, since caches and pools fill then.
 */
const chunks = 30;

interface Sample {
  readonly minute: number;
  readonly mb: number;
  readonly open: number;
}

export async function soak(bench: Bench, contenders: readonly Contender[]): Promise<string> {
  const muster = contenders.find(({ name }) => name === 'muster');
  if (muster === undefined) throw new Error('there is no gateway to soak');
  const { options } = bench.setting;
  const { soakStreams: streams, soakMinutes: minutes } = options;
  const { child, port } = await startContender(bench, muster);
  await admin(bench.mock, 'config?delay_us=1000000&ttft_us=100000&cache=0');
  const warmSeconds = 15;
  const load = runLoad(bench, {
    port,
    session: child.pid,
    args: [
      ...['-c', String(streams), '-stream', '-chunks', String(chunks), '-timeout', '90s'],
      ...['-warm', `${warmSeconds}s`, '-d', `${minutes}m`],
    ],
  });
  let isOver = false;
  load.finally(() => (isOver = true)).catch(() => undefined);
  await sleep(warmSeconds * 1_000);
  const samples: Sample[] = [];
  const startMs = performance.now();
  const everyMs = Math.max(500, (minutes * 60_000) / 120);
  const over = (): boolean => isOver;
  while (!over()) {
    const minute = (performance.now() - startMs) / 60_000;
    if (minute > minutes) break;
    const sample = { minute, mb: memoryMb(child.pid), open: openFiles(child.pid) };
    samples.push(sample);
    bench.say(
      `${minute.toFixed(1).padStart(5)} min  ${sample.mb.toFixed(0)} MB  ${sample.open} open files and sockets`,
    );
    await sleep(everyMs);
  }
  const result = await load;
  if (result.errors + result.warm_errors > 0) {
    throw new Error(
      `The soak lost ${result.errors + result.warm_errors} streams: ${result.error_samples?.[0] ?? ''}. ${child.log()}`,
    );
  }
  const steady = samples.slice(Math.floor(samples.length / 4));
  const line = [
    streams,
    minutes,
    result.requests,
    result.chunks,
    (result.gw_cpu_s / result.chunks) * 1e6,
    samples[0]?.mb ?? 0,
    steady[0]?.mb ?? 0,
    samples.at(-1)?.mb ?? 0,
    slope(steady),
    Math.max(...samples.map(({ open }) => open)),
  ].map((value) => String(Number(value.toFixed(2))));
  if (options.json) return `${JSON.stringify({ samples, slope_mb_per_minute: slope(steady) })}\n`;
  return [
    '| streams | minutes | whole streams | chunks | CPU us a chunk | MB at first | after a quarter | at the end | MB a minute | open files at most |',
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    `| ${line.join(' | ')} |\n`,
  ].join('\n');
}

/** Least squares, MB a minute. */
export function slope(samples: readonly Pick<Sample, 'minute' | 'mb'>[]): number {
  const n = samples.length;
  if (n < 2) return 0;
  const meanX = samples.reduce((sum, { minute }) => sum + minute, 0) / n;
  const meanY = samples.reduce((sum, { mb }) => sum + mb, 0) / n;
  const xy = samples.reduce((sum, { minute, mb }) => sum + (minute - meanX) * (mb - meanY), 0);
  const xx = samples.reduce((sum, { minute }) => sum + (minute - meanX) ** 2, 0);
  return xx === 0 ? 0 : xy / xx;
}

function memoryMb(session: number): number {
  return (
    members(session).reduce(
      (sum, pid) => sum + Number(/VmRSS:\s+(\d+)/.exec(read(`${pid}/status`))?.[1] ?? 0),
      0,
    ) / 1024
  );
}

function openFiles(session: number): number {
  return members(session).reduce((sum, pid) => sum + countFiles(pid), 0);
}

function countFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

function read(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}
