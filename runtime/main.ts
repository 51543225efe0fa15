import { readFile } from 'node:fs/promises';
import pino from 'pino';
import { MusterError } from '../domain/errors.ts';
import { Admission } from './admission.ts';
import { buildApp } from './app.ts';
import type { Flags } from './flags.ts';
import { parseFlags } from './flags.ts';
import { createMetrics } from './metrics.ts';
import { ModelRepository } from './repository.ts';

/** One process a replica: reads its flags, listens, loads its models, serves, and drains on SIGTERM or SIGINT. */
try {
  await serve(parseFlags(process.argv.slice(2)));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`muster-onnx: ${message.replace(/\s+/g, ' ')}\n`);
  process.exit(error instanceof MusterError && error.code === 'invalid_input' ? 2 : 1);
}

async function serve(flags: Flags): Promise<void> {
  const logger = pino({ level: flags.log_level, base: { process: 'runtime' } });
  const state = { loaded: false, draining: false };
  const repository = new ModelRepository({
    folder: flags.model_dir,
    modelName: flags.model_name,
    threads: flags.threads,
    maxModels: flags.max_models,
    onLost: (model, why) => {
      process.stderr.write(`muster-onnx: model ${model} was lost: ${why}\n`);
      // Whoever started this process starts it again, with the model fresh.
      process.exit(1);
    },
  });
  const admission = new Admission(flags.max_queue);
  const app = buildApp({
    repository,
    admission,
    metrics: createMetrics(admission, repository),
    logger,
    isReady: () => state.loaded && !state.draining && repository.names().length > 0,
    isDraining: () => state.draining,
    version: await ownVersion(),
    startedAtSeconds: Math.floor(Date.now() / 1000),
    maxBodyBytes: flags.max_body_bytes,
  });

  const drain = async (signal: string) => {
    if (state.draining) process.exit(1);
    state.draining = true;
    logger.info({ signal, inFlight: admission.inFlight }, 'draining');
    const deadline = setTimeout(() => {
      logger.warn({ inFlight: admission.inFlight }, 'grace is over; requests are cut');
      process.exit(0);
    }, flags.grace_seconds * 1000);
    // New requests are still served meanwhile: who sent them had not heard yet.
    await admission.idle();
    await app.close();
    await repository.close();
    clearTimeout(deadline);
    logger.info('stopped');
    process.exit(0);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void drain(signal));

  await listen(app, flags);
  await repository.loadAll();
  state.loaded = true;
  const { port } = app.server.address() as { port: number };
  logger.info({ host: flags.host, port, models: repository.names(), pid: process.pid }, 'ready');
}

async function listen(app: ReturnType<typeof buildApp>, { host, http_port: port }: Flags): Promise<void> {
  try {
    await app.listen({ host, port, listenTextResolver: () => 'listening' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new MusterError(
      'port_in_use',
      `Port ${port} of ${host} is in use: choose another with --http_port.`,
    );
  }
}

async function ownVersion(): Promise<string> {
  const file = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}
