import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { bootIdFile, startOf } from '../../../domain/process/process-stat.ts';

/**
 * Which process a pid is, by its start: see domain/process/process-stat.ts.
 */
const run = promisify(execFile);

/** Text that differs for any two processes that ever had the pid; null when none runs (a zombie does not run). */
export async function processIdentity(
  pid: number,
  platform: NodeJS.Platform = process.platform,
): Promise<string | null> {
  return platform === 'linux' ? await linuxIdentity(pid) : await psIdentity(pid);
}

async function linuxIdentity(pid: number): Promise<string | null> {
  try {
    const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8');
    return startOf(stat, await readFile(bootIdFile, 'utf8'));
  } catch {
    return null;
  }
}

async function psIdentity(pid: number): Promise<string | null> {
  try {
    const { stdout } = await run('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      env: { LC_ALL: 'C', PATH: '/bin:/usr/bin' },
    });
    const [state = '', ...start] = stdout.trim().split(/\s+/);
    return start.length === 0 || state.startsWith('Z') ? null : start.join(' ');
  } catch {
    return null;
  }
}

/** Pids whose argument vector ends with these arguments: finds a process that was started and never recorded. */
export async function findByArguments(args: readonly string[]): Promise<readonly number[]> {
  const wanted = args.join(' ');
  try {
    const { stdout } = await run('ps', ['-ww', '-A', '-o', 'pid=,args='], {
      env: { LC_ALL: 'C', PATH: '/bin:/usr/bin:/usr/local/bin' },
      maxBuffer: 32 * 1024 * 1024,
    });
    return stdout
      .split('\n')
      .filter((line) => line.trimEnd().endsWith(wanted))
      .map((line) => Number(/^\s*(\d+)/.exec(line)?.[1]))
      .filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  } catch {
    return [];
  }
}
