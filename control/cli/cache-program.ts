import type { Command } from 'commander';
import type { Context } from './context.ts';

/** The commands of `muster cache`. */
export function addCache(program: Command, context: () => Context): void {
  const cache = program.command('cache').description('fill and empty the cache of the gateways');
  cache
    .command('purge')
    .description('forget all cached answers of a model, in every gateway')
    .argument('<model>', 'as a request names it')
    .action(async (model: string) => (await import('./commands/cache.ts')).purge(context(), model));
  cache
    .command('warm')
    .description('send requests, so that their answers are there when they are asked for')
    .argument(
      '<file>',
      'one request a line: an OpenAI body, a line of a batch, or a CloudEvent of a payload log; - for standard input',
    )
    .option('--concurrency <n>', 'requests at once', '4')
    .action(async (file: string, options: { concurrency: string }) =>
      (await import('./commands/cache.ts')).warm(context(), file, options),
    );
}
