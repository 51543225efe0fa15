import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { has } from './children.ts';

/** What the bench needs from the machine, and its Go programs, built once for each state of their sources. */
const sources = new URL('./go/', import.meta.url).pathname;

/** @throws Error that says what is missing and where it comes from */
export function checkMachine(): void {
  const need = (isThere: boolean, what: string) => {
    if (!isThere) throw new Error(what);
  };
  need(process.platform === 'linux', 'The bench reads CPU time from /proc: it runs on Linux alone.');
  need(has('nginx', ['-v']), 'nginx is missing: install it, e.g. apt-get install nginx-light.');
  need(has('taskset', ['--version']), 'taskset is missing: it comes with util-linux.');
  need(availableParallelism() >= 2, 'The bench needs two CPUs: one for the gateway, one for its load.');
}

/** @returns the folder with `mock`, `load` and `steps` */
export function buildPrograms(root: string): string {
  const files = (readdirSync(sources, { recursive: true }) as string[]).filter((file) =>
    /\.(go|mod)$/.test(file),
  );
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(file).update(readFileSync(join(sources, file)));
  const folder = join(root, 'node_modules/.cache/muster-bench-gateway', hash.digest('hex').slice(0, 16));
  if (existsSync(folder)) return folder;
  // Its installer puts it there, and leaves the PATH to the user.
  const go = ['go', '/usr/local/go/bin/go'].find((program) => has(program, ['version']));
  if (go === undefined) {
    throw new Error(
      'go is missing: install Go 1.21 or later (https://go.dev/dl), it builds the programs here.',
    );
  }
  const made = `${folder}.${process.pid}`;
  mkdirSync(made, { recursive: true });
  for (const name of ['mock', 'load', ...(process.arch === 'x64' ? ['steps'] : [])]) {
    const built = spawnSync(go, ['build', '-o', join(made, name), `./${name}`], {
      cwd: sources,
      encoding: 'utf8',
      env: { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '-mod=mod' },
    });
    if (built.status !== 0) throw new Error(`${name} could not be built: ${built.stderr}`);
  }
  renameSync(made, folder);
  return folder;
}
