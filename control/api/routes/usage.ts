import { z } from 'zod';
import { usageGroups } from '../../../domain/usage/groups.ts';
import {
  BudgetStates,
  UsageReport,
  UsageSums,
  UsageTaken,
  WindowPage,
} from '../../../domain/usage/usage-record.schema.ts';
import type { Routes } from './route.ts';
import { refusals } from './route.ts';

const dayMs = 24 * 3_600_000;
const Time = z.iso.datetime({ offset: true });

/** What was used and what it cost: told by gateways, settled by the ledger workflow, read by people. */
export const usageRoutes: Routes = (app, context) => {
  const { ledger } = context.store;
  app.post(
    '/internal/usage',
    {
      schema: {
        tags: ['internal'],
        summary: 'What requests used; records that came before count once',
        body: UsageReport,
        response: { 200: UsageTaken, ...refusals },
      },
    },
    async ({ body }) => ({ added: await ledger.add(body, context.now()) }),
  );
  app.get(
    '/internal/ledger/windows',
    {
      schema: {
        tags: ['internal'],
        summary: 'What each gateway spent of budget windows that are open, or ended of late',
        querystring: z.object({
          since: z.coerce.number().int().min(0),
          after: z.string().default(''),
          limit: z.coerce.number().int().min(1).max(1_000).default(200),
        }),
        response: { 200: WindowPage, ...refusals },
      },
    },
    async ({ query }) => ({ windows: await ledger.spending(query.since, query.after, query.limit) }),
  );
  app.post(
    '/internal/ledger/prune',
    {
      schema: {
        tags: ['internal'],
        summary: 'Forget single records and budget windows older than a moment',
        body: z.object({ before: z.int().min(0) }),
        response: { 200: z.object({ removed: z.int() }), ...refusals },
      },
    },
    async ({ body }) => ({ removed: await ledger.prune(body.before) }),
  );
  app.get(
    '/apis/muster.dev/v1alpha1/usage',
    {
      schema: {
        tags: ['usage'],
        summary: 'What was used and what it cost, summed; the last 30 days unless said',
        querystring: z.object({
          by: z.enum(usageGroups).default('tenant'),
          since: Time.optional(),
          until: Time.optional(),
        }),
        response: { 200: UsageSums, ...refusals },
      },
    },
    async ({ query }) => {
      const until = query.until === undefined ? context.now() + dayMs : Date.parse(query.until);
      const since = query.since === undefined ? context.now() - 30 * dayMs : Date.parse(query.since);
      return { items: await ledger.sums(query.by, since, until) };
    },
  );
  app.get(
    '/apis/muster.dev/v1alpha1/budgets',
    {
      schema: {
        tags: ['usage'],
        summary: 'Budgets in their windows of now: spent, leased by gateways, left',
        response: { 200: BudgetStates, ...refusals },
      },
    },
    async () => ({ items: await ledger.budgets(context.now()) }),
  );
};
