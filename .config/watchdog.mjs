// Jest's timeouts end a test that waits. They do not end one whose thread never comes back (a loop without end, also of
// promises that are settled already; a child process that is waited for), nor a file whose import never ends. This
// reporter does: it says which test it was and where it stands, and kills the worker. Jest counts the file as failed,
// and goes on with the others.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { whereItStands } from './where-it-stands.mjs';

/** Longer than any test's own timeout. */
const silenceMs = 16 * 60_000;

export default class Watchdog {
  /** By the path of a file that runs. */
  #news = new Map();
  #timer;
  #ending = Promise.resolve();
  #silenceMs;
  #folder = process.env.MUSTER_TEST_WORKERS;

  constructor(_config, options) {
    this.#silenceMs = options.silenceMs ?? silenceMs;
  }

  onRunStart() {
    if (!this.#folder) return;
    rmSync(this.#folder, { recursive: true, force: true }); // a former run's workers
    mkdirSync(this.#folder, { recursive: true });
    this.#timer = setInterval(() => this.#look(), Math.min(5_000, this.#silenceMs / 4));
  }

  onTestFileStart({ path }) {
    this.#tell(path, 'its imports');
  }

  onTestCaseStart({ path }, { fullName }) {
    this.#tell(path, `"${fullName}"`);
  }

  onTestCaseResult({ path }, { fullName }) {
    this.#tell(path, `what comes after "${fullName}"`);
  }

  onTestFileResult({ path }) {
    this.#news.delete(path);
  }

  onRunComplete() {
    clearInterval(this.#timer);
  }

  #tell(path, doing) {
    this.#news.set(path, { doing, atMs: performance.now() });
  }

  #look() {
    for (const [path, { doing, atMs }] of this.#news) {
      if (performance.now() - atMs < this.#silenceMs) continue;
      this.#news.delete(path);
      // One at a time has the inspector's port.
      this.#ending = this.#ending.then(() => this.#end(path, doing)).catch((error) => console.error(error));
    }
  }

  async #end(path, doing) {
    const pid = this.#workerOf(path);
    const seconds = Math.round(this.#silenceMs / 1_000);
    console.error(`\nHANGS  ${path}\n  Nothing was heard for ${seconds} s of ${doing}.`);
    if (pid === undefined) return;
    console.error(`  ${(await whereItStands(pid)).replaceAll('\n', '\n  ')}`);
    const children = descendants(pid);
    kill(pid);
    for (const child of children) {
      console.error(`  beneath it: ${child.line}`);
      kill(child.pid);
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000)); // until the inspector's port is free
  }

  /** The setup file of each test file writes its path into a file that is named after the worker. */
  #workerOf(path) {
    const isIts = (name) => readFileSync(join(this.#folder, name), 'utf8') === path;
    const name = readdirSync(this.#folder).find(isIts);
    return name === undefined ? undefined : Number(name);
  }
}

/** None where there is no `ps`. */
function descendants(ancestor) {
  const { stdout } = spawnSync('ps', ['-eo', 'pid=,ppid=,args='], { encoding: 'utf8' });
  const lines = (stdout ?? '').split('\n');
  const all = lines.map((line) => {
    const [pid, parent] = line.trim().split(/\s+/).map(Number);
    return { pid, parent, line: line.trim().slice(0, 200) };
  });
  const found = [];
  for (const known = [ancestor]; known.length > 0;) {
    const parent = known.pop();
    for (const child of all.filter((each) => each.parent === parent)) {
      found.push(child);
      known.push(child.pid);
    }
  }
  return found;
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it is gone
  }
}
