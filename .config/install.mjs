// Decides whether `npm install` is needed and runs it. npm's prestart and pretest call this with whatever node
// the machine has, before anything is installed: so plain JavaScript, no dependency, Node 20's features only.
//
//   node .config/install.mjs          what running needs
//   node .config/install.mjs --dev    what testing needs as well
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ATTEMPTS = 3;
const WAIT_MS = 3000;
const networkTrouble =
  /\b(ENOTFOUND|EAI_AGAIN|ECONNRESET|ECONNREFUSED|ETIMEDOUT|ERR_SOCKET_TIMEOUT|network)\b/i;

/**
 * @param {string} root
 * @param {boolean} dev true: packages for development are wanted too
 * @returns {{reason: string, dev: boolean} | null} null when all is there
 */
export function neededInstall(root, dev) {
  const wanted = readJson(join(root, 'package-lock.json'));
  const present = readJson(join(root, 'node_modules', '.package-lock.json'));
  if (wanted === null) throw new Error(`${join(root, 'package-lock.json')} is missing or broken.`);
  if (present === null) return { reason: 'nothing is installed yet', dev };
  // A developer's tree is never pruned: once packages for development are there they are kept up to date.
  const hasDev = Object.values(present.packages).some((p) => p.dev === true);
  const withDev = dev || hasDev;
  const changed = Object.entries(wanted.packages).filter(
    ([path, p]) =>
      path !== '' &&
      (withDev || (p.dev !== true && p.devOptional !== true)) &&
      p.optional !== true &&
      p.peer !== true &&
      (present.packages[path]?.version !== p.version || !existsSync(join(root, path))),
  );
  if (changed.length > 0) {
    const missingDev = changed.every(([, p]) => p.dev === true || p.devOptional === true);
    const reason =
      missingDev && !hasDev
        ? 'packages for tests are missing'
        : `${String(changed.length)} package${changed.length === 1 ? ' is' : 's are'} missing or changed`;
    return { reason, dev: withDev };
  }
  if (pinnedNode(root) === null) return { reason: 'the pinned Node is missing', dev: withDev };
  return null;
}

/** @returns {string | null} the version of node_modules/.bin/node, null when it does not run */
export function pinnedNode(root) {
  const result = spawnSync(join(root, 'node_modules', '.bin', 'node'), ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : null;
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return null;
  }
}

function runNpm(root, dev) {
  const args = ['install', ...(dev ? ['--include=dev'] : ['--omit=dev']), '--no-audit', '--no-fund'];
  for (let attempt = 1; ; attempt += 1) {
    const result = spawnSync('npm', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    if (result.error !== undefined) return `npm could not be started: ${result.error.message}`;
    if (result.status === 0) return null;
    const said = `${result.stdout}\n${result.stderr}`;
    if (attempt < ATTEMPTS && networkTrouble.test(said)) {
      console.log(
        `muster: the package registry does not answer, trying again (${attempt + 1} of ${ATTEMPTS})`,
      );
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WAIT_MS * attempt);
      continue;
    }
    const words = said.split('\n').filter((line) => /npm (error|ERR!)/.test(line));
    const hint = networkTrouble.test(said) ? ' Check the network and `npm config get registry`.' : '';
    return `\`npm ${args.join(' ')}\` failed.${hint}\n${words.slice(-12).join('\n')}`;
  }
}

/**
 * `npx muster` and node_modules/.bin/muster: npm does not link a package's own bin. A shell script and no link,
 * so that it runs with the pinned Node whatever `node` the caller's PATH has first.
 */
export function linkMuster(root) {
  const file = join(root, 'node_modules', '.bin', 'muster');
  const text = [
    '#!/bin/sh',
    'here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd) || exit 1',
    'exec "$here/node" "$here/../../control/cli/main.ts" "$@"',
    '',
  ].join('\n');
  if (existsSync(file) && readFileSync(file, 'utf8') === text && (statSync(file).mode & 0o111) !== 0) return;
  writeFileSync(file, text);
  chmodSync(file, 0o755);
}

function main() {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) {
    console.error(
      `muster: Node ${process.versions.node} is too old. Node 20 or newer is needed to start; see nodejs.org.`,
    );
    return 1;
  }
  const needed = neededInstall(root, process.argv.includes('--dev'));
  if (needed !== null) {
    console.log(`muster: installing packages, ${needed.reason} (about a minute the first time)`);
    const failure = runNpm(root, needed.dev);
    if (failure !== null) {
      console.error(`muster: ${failure}`);
      return 1;
    }
    const version = pinnedNode(root);
    if (version === null || !version.startsWith('v26.')) {
      console.error(
        'muster: the npm package `node` did not bring Node 26: node_modules/.bin/node ' +
          `${version === null ? 'does not run' : `is ${version}`}. Allow its install script ` +
          '(`npm config get ignore-scripts` must say false), remove node_modules/node and start again.',
      );
      return 1;
    }
  }
  linkMuster(root);
  return 0;
}

if (fileURLToPath(import.meta.url) === realpathSync(process.argv[1] ?? '.')) process.exitCode = main();
