import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepAwake } from './awake.ts';
import { killAll, setNice, stopAll } from './children.ts';
import { contenders, peerNames } from './contenders.ts';
import type { Setting } from './contenders.ts';
import { figures } from './figures.ts';
import { measureRound, startMock } from './measure.ts';
import { UsageError, readOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { buildPrograms, checkMachine } from './programs.ts';
import { profileReport, readProfiles } from './profile.ts';
import { report } from './report.ts';
import { makeRoutes } from './routes.ts';
import { soak } from './soak.ts';
import type { Run } from './workloads.ts';

/** `npm run bench:gateway`: the gateway beside nginx, see README.md. Figures are printed and never asserted. */
const root = new URL('../../', import.meta.url).pathname;
const scratch = mkdtempSync(join(tmpdir(), 'muster-bench-gateway-'));
const say = (text: string) => process.stderr.write(`${text}\n`);

process.on('exit', () => {
  killAll();
  rmSync(scratch, { recursive: true, force: true, maxRetries: 3 });
});
const interrupt = { isAsked: false };
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (interrupt.isAsked) process.exit(130);
    interrupt.isAsked = true;
    say('Stopping; once more to stop at once.');
    void stopAll().then(() => process.exit(130));
  });
}

try {
  if (process.argv.includes('--help')) {
    process.stdout.write(`${usage}\n`);
    process.exit(0);
  }
  const options = readOptions(process.argv.slice(2), peerNames);
  await run(options);
} catch (error) {
  if (!interrupt.isAsked) say(error instanceof Error ? error.message : String(error));
  if (error instanceof UsageError) say(usage);
  process.exitCode = error instanceof UsageError ? 2 : 1;
} finally {
  await stopAll();
}

async function run(options: Options): Promise<void> {
  checkMachine();
  setNice(options.nice);
  const programs = buildPrograms(root);
  const chosen = contenders(options);
  for (const { prepare } of chosen) prepare?.();
  const mock = await startMock(programs, scratch, options.loadCpus);
  const servers = mock.ports.map((port) => `http://127.0.0.1:${port}`);
  const routes = makeRoutes(servers, options.isBare);
  const setting: Setting = { root, scratch, servers, routesFile: join(scratch, 'routes.json'), options };
  writeFileSync(setting.routesFile, routes.text, { mode: 0o600 });
  const { loadCpus } = options;
  const bench = { setting, programs, mock, loadCpus, header: routes.header, say };
  if (options.soakMinutes > 0) {
    process.stdout.write(await soak(bench, chosen));
    return;
  }
  const sleepy = options.maySleep ? '--may-sleep' : keepAwake();
  if (sleepy !== null) say(`CPUs may sleep (${sleepy}): requests that come alone wait for them, too.`);
  const runs: Run[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    runs.push(...(await measureRound(bench, round, chosen)));
  }
  if (options.profile !== '') process.stdout.write(profileReport(readProfiles(options.profile), root));
  const cpus = sleepy === null ? 'CPUs were kept awake.' : `CPUs might sleep (${sleepy}).`;
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ ...figures(runs), cpus_awake: sleepy === null })}\n`
      : `${report(runs)}\n${cpus}\n`,
  );
}
