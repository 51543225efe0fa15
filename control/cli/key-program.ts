import type { Command } from 'commander';
import type { CreateKeyOptions } from './commands/key.ts';
import type { Context } from './context.ts';
import { rawOutput, repeated } from './options.ts';

/** The commands of `muster key`. */
export function addKeys(program: Command, context: () => Context): void {
  const key = program.command('key').description('create, list, rotate and revoke API keys of the gateway');
  key
    .command('create')
    .description('create an API key; it is shown this once')
    .argument('<name>', 'whose it is, for people')
    .option('--tenant <tenant>', 'who it counts for: budgets, fairness, caches')
    .option('--tier <tier>', 'critical, high, standard or best-effort (default: standard)')
    .addOption(repeated('--scope <scope>', 'infer, admin, metrics or *; may be repeated (default: infer)'))
    .addOption(
      repeated('--model <model>', 'NAME, NAMESPACE/NAME, NAMESPACE/* or *; may be repeated (default: *)'),
    )
    .option(
      '--home <namespace>',
      'namespace in which names are looked for (default: the tenant, else default)',
    )
    .option('--expires <duration>', 'e.g. 12h, 90d (default: never)')
    .addOption(rawOutput())
    .action(async (name: string, options: CreateKeyOptions) =>
      (await import('./commands/key.ts')).createKey(context(), name, options),
    );
  key
    .command('list')
    .description('list API keys; nothing of what is shown opens anything')
    .option('--all', 'also those that were revoked or have expired')
    .addOption(rawOutput())
    .action(async (options: object) => (await import('./commands/key.ts')).listKeys(context(), options));
  key
    .command('rotate')
    .description('create a key with the rights of another, which then ends')
    .argument('<id>')
    .option('--grace <duration>', 'how long the old one still works (default: not at all)')
    .addOption(rawOutput())
    .action(async (id: string, options: object) =>
      (await import('./commands/key.ts')).rotateKey(context(), id, options),
    );
  key
    .command('revoke')
    .description('end API keys for good; every connected gateway refuses them within a second')
    .argument('<id...>')
    .action(async (ids: string[]) => (await import('./commands/key.ts')).revokeKeys(context(), ids));
}
