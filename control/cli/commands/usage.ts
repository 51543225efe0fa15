import type { BudgetState, UsageSum } from '../../../domain/usage/usage-record.schema.ts';
import type { Context } from '../context.ts';
import { durationOf } from '../duration.ts';
import { renderTable } from '../table.ts';
import { printRaw } from './records.ts';

const root = '/apis/muster.dev/v1alpha1';

export interface UsageOptions {
  readonly by: string;
  readonly since: string;
  readonly output?: string;
}

/** `muster usage`: what was used and what it cost. */
export async function usage(context: Context, options: UsageOptions): Promise<void> {
  const since = new Date(Date.now() - durationOf('--since', options.since, 1)).toISOString();
  const query = new URLSearchParams({ by: options.by, since });
  const list = (await context.api.get(`${root}/usage?${query.toString()}`)) as { items: UsageSum[] };
  if (printRaw(context, list, options)) return;
  if (list.items.length === 0) context.note(`Nothing was used in the last ${options.since}.`);
  else context.print(usageTable(options.by, list.items));
}

/** `muster budget list`: what is spent, leased by gateways and left. */
export async function listBudgets(context: Context, options: { readonly output?: string }): Promise<void> {
  const list = (await context.api.get(`${root}/budgets`)) as { items: BudgetState[] };
  if (printRaw(context, list, options)) return;
  if (list.items.length === 0)
    context.note('No budget was drawn on yet. Budgets are a section of the policy of the gateways.');
  else context.print(budgetTable(list.items));
}

export function usageTable(by: string, sums: readonly UsageSum[]): string {
  const head = [by.toUpperCase(), 'REQUESTS', 'INPUT', 'CACHED', 'OUTPUT', 'COST', 'ESTIMATED'];
  const rows = sums.map((sum) => [
    sum.group === '' ? '(none)' : sum.group,
    String(sum.requests),
    String(sum.inputTokens),
    String(sum.cachedInputTokens),
    String(sum.outputTokens),
    `${formatMicros(sum.costMicros)} ${sum.currency}`,
    String(sum.estimated),
  ]);
  return renderTable(head, rows);
}

export function budgetTable(budgets: readonly BudgetState[]): string {
  const head = ['ACCOUNT', 'WINDOW', 'UNIT', 'LIMIT', 'SPENT', 'LEASED', 'LEFT', 'ENDS'];
  const rows = budgets.flatMap((budget) => {
    const { account, window, endsAt } = budget;
    const row = (unit: string, amounts: (number | null)[], format: (amount: number) => string): string[] => [
      account,
      window,
      unit,
      ...amounts.map((amount) => format(amount ?? 0)),
      endsAt ?? 'never',
    ];
    const { limitTokens, spentTokens, leasedTokens, leftTokens } = budget;
    const { limitCostMicros, spentCostMicros, leasedCostMicros, leftCostMicros } = budget;
    return [
      ...(limitTokens === null
        ? []
        : [row('tokens', [limitTokens, spentTokens, leasedTokens, leftTokens], String)]),
      ...(limitCostMicros === null
        ? []
        : [row('money', [limitCostMicros, spentCostMicros, leasedCostMicros, leftCostMicros], formatMicros)]),
    ];
  });
  return renderTable(head, rows);
}

/** 1,234,500 micro-units are 1.2345; whole numbers all the way. */
export function formatMicros(micros: number): string {
  const whole = Math.floor(micros / 1_000_000);
  const rest = String(micros % 1_000_000)
    .padStart(6, '0')
    .replace(/0{1,4}$/, '');
  return `${whole}.${rest}`;
}
