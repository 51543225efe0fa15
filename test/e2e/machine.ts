import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** python3 that can make virtual environments. */
export function hasPython(): boolean {
  return spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0;
}

/** Linux's process table, by which tests look for orphans. */
export function hasProc(): boolean {
  return existsSync('/proc/self/cmdline');
}

/** Where the Temporal CLI is; the PATH of `npm test` names its folder first. */
export function temporalPath(): string {
  return spawnSync('sh', ['-c', 'command -v temporal'], { encoding: 'utf8' }).stdout.trim();
}

export function hasTemporal(): boolean {
  return temporalPath() !== '' && spawnSync('temporal', ['--version']).status === 0;
}
