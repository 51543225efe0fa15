import type { Command } from 'commander';
import { Option } from 'commander';
import { usageGroups } from '../../domain/usage/groups.ts';
import type { Context } from './context.ts';
import { rawOutput } from './options.ts';

/** `muster usage` and `muster budget …`. */
export function addUsage(program: Command, context: () => Context): void {
  program.commandsGroup('What it costs:');
  program
    .command('usage')
    .description('show what requests used and cost')
    .addOption(new Option('--by <what>', 'what to sum by').choices([...usageGroups]).default('tenant'))
    .option('--since <duration>', 'how far back, in whole hours', '30d')
    .addOption(rawOutput())
    .action(async (options: { by: string; since: string; output?: string }) =>
      (await import('./commands/usage.ts')).usage(context(), options),
    );
  const budget = program.command('budget').description('budgets of the policy of the gateways');
  budget
    .command('list')
    .description('show what is spent of them, leased by gateways and left')
    .addOption(rawOutput())
    .action(async (options: object) => (await import('./commands/usage.ts')).listBudgets(context(), options));
}
