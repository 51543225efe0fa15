// `npm test`: runs all that this machine can run, and says what it left out and why.
//   npm test                        everything
//   npm test -- test/gateway        only files whose path matches
//   MUSTER_TEST_REQUIRE_ALL=1       whatever would be left out fails instead (CI)
// The last line is `N passed, N failed`, with `, N skipped` when something was left out.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node = join(root, 'node_modules/.bin/node');
const scratch = mkdtempSync(join(tmpdir(), 'muster-test-run-'));
const totals = join(scratch, 'totals');
const patterns = process.argv.slice(2);

/** Temporal's CLI is found like `npm start` finds it, so that a fresh machine needs nothing prepared. */
function temporalFolder() {
  const find = spawnSync(node, [join(root, 'test/fixtures/find-temporal.ts')], {
    cwd: root,
    encoding: 'utf8',
  });
  if (find.status === 0) return dirname(find.stdout.trim());
  console.log(`Without a Temporal server, its tests are left out: ${find.stderr.trim()}`);
  return '';
}

const env = {
  ...process.env,
  NODE_OPTIONS: '--experimental-vm-modules --disable-warning=ExperimentalWarning',
  PATH: [join(root, 'node_modules/.bin'), temporalFolder(), process.env.PATH].filter(Boolean).join(':'),
  MUSTER_TEST_TOTALS: totals,
  MUSTER_TEST_WORKERS: join(scratch, 'workers'),
};

/** Jest ended otherwise than by counting its tests: then no count can be trusted. */
let isBroken = false;

function jest(...args) {
  const before = readCounts().length;
  const done = spawnSync(
    node,
    [
      join(root, 'node_modules/jest/bin/jest.js'),
      '-c',
      join(root, '.config/jest.config.js'),
      '--reporters=default',
      `--reporters=${join(root, '.config/reporter.mjs')}`,
      `--reporters=${join(root, '.config/watchdog.mjs')}`,
      // Jest frees no ES modules of a file that is over: two workers grew to 4 GB and the end of their heaps. With a
      // limit it also runs no file in its own process, where none could be ended when it hangs (see watchdog.mjs).
      '--workerIdleMemoryLimit=1GB',
      '--passWithNoTests',
      ...args,
    ],
    { cwd: root, env, stdio: 'inherit', timeout: 60 * 60_000, killSignal: 'SIGKILL' },
  );
  const news = readCounts().slice(before);
  isBroken ||= done.status !== 0 && !news.some((result) => result.failed > 0);
}

function readCounts() {
  if (!existsSync(totals)) return [];
  return readFileSync(totals, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

// Whole stacks share the machine's two cores badly with anything else, so they run after the rest, one by one.
const e2e =
  patterns.length > 0 ? patterns.filter((p) => p.includes('e2e')).concat('/nothing/') : ['/test/e2e/'];
jest('--maxWorkers=2', '--testPathIgnorePatterns', '/test/e2e/', '--', ...patterns);
jest('--maxWorkers=1', '--testPathPatterns', ...e2e);

/** The last result of each test file. */
function results() {
  return new Map(readCounts().map((result) => [result.file, result]));
}
// Two busy cores can make a wait too short: what failed is run once more, alone, and said to have been, by name, at
// the end. More than a few such files are no matter of a busy machine, and are not tried again.
const failed = [...results().values()].filter((result) => result.failed > 0);
if (failed.length > 0 && failed.length <= 3) {
  const files = failed.map((result) => result.file);
  console.log(`\nFailed, and now run once more alone:\n${files.map((file) => `  - ${file}`).join('\n')}`);
  jest('--maxWorkers=1', '--runTestsByPath', ...files);
}
const unsteady = failed.filter(({ file }) => results().get(file).failed === 0);

const required = process.env.MUSTER_TEST_REQUIRE_ALL === '1';
const sum = { passed: 0, failed: 0, skipped: [] };
for (const result of results().values()) {
  sum.passed += result.passed;
  sum.failed += result.failed;
  sum.skipped.push(...result.skipped);
}
rmSync(scratch, { recursive: true, force: true });
if (sum.skipped.length > 0) {
  console.log(`\nLeft out on this machine (${sum.skipped.length}); each name says why:`);
  for (const name of sum.skipped) console.log(`  - ${name}`);
}
if (unsteady.length > 0) {
  console.log('\nUnsteady: these failed beside other tests and passed alone. Each is a race to be found:');
  for (const { file, failures } of unsteady) console.log(`  - ${[file, ...failures].join('\n      ')}`);
}
if (required && sum.skipped.length > 0) sum.failed += sum.skipped.length;
const left = sum.skipped.length > 0 ? `, ${sum.skipped.length} skipped` : '';
if (isBroken) console.log('The test runner itself failed; see above.');
console.log(`\n${sum.passed} passed, ${sum.failed} failed${left}`);
process.exitCode = !isBroken && sum.passed > 0 && sum.failed === 0 ? 0 : 1;
