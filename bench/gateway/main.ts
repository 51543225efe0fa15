import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepAwake } from './awake.ts';
import { killAll, setNice, stopAll } from './children.ts';
import { contenders, peerNames } from './contenders.ts';
import { figures } from './figures.ts';
import { measureRound, setUp } from './measure.ts';
import { UsageError, readOptions, usage } from './options.ts';
import type { Options } from './options.ts';
import { buildPrograms, checkMachine } from './programs.ts';
import { profileReport, readProfiles } from './profile.ts';
import { report } from './report.ts';
import { scale, scaleTable } from './scale.ts';
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
  const parts = { root, scratch, options, programs, say };
  if (options.soakMinutes > 0) {
    process.stdout.write(await soak(await setUp(parts), chosen));
    return;
  }
  const sleepy = options.maySleep ? '--may-sleep' : keepAwake();
  if (sleepy !== null) say(`CPUs may sleep (${sleepy}): requests that come alone wait for them, too.`);
  const awake = { cpus_awake: sleepy === null };
  const told = sleepy === null ? 'CPUs were kept awake.' : `CPUs might sleep (${sleepy}).`;
  const print = (figures: object, text: () => string) =>
    process.stdout.write(
      options.json ? `${JSON.stringify({ ...figures, ...awake })}\n` : `${text()}\n${told}\n`,
    );
  if (options.isScale) {
    const scaled = await scale(parts, chosen);
    print({ processes: options.processes, scale: scaled }, () => scaleTable(scaled, options.processes));
    return;
  }
  const bench = await setUp(parts);
  const runs: Run[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    runs.push(...(await measureRound(bench, round, chosen)));
  }
  if (options.profile !== '') process.stdout.write(profileReport(readProfiles(options.profile), root));
  print(figures(runs), () => report(runs));
}
