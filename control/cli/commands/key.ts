import type { CreatedKey, KeyList, KeyRecord } from '../../../domain/control/keys.schema.ts';
import { ageOf, formatAge } from '../age.ts';
import type { Context } from '../context.ts';
import { durationOf } from '../duration.ts';
import { renderTable } from '../table.ts';
import { printRaw } from './records.ts';

const path = '/apis/muster.dev/v1alpha1/keys';

export interface CreateKeyOptions {
  readonly tenant?: string;
  readonly tier?: string;
  readonly scope?: readonly string[];
  readonly model?: readonly string[];
  readonly home?: string;
  readonly expires?: string;
  readonly output?: string;
}

/** `muster key create NAME`: the key alone goes to standard output, so that a script can take it from there. */
export async function createKey(context: Context, name: string, options: CreateKeyOptions): Promise<void> {
  const { tenant, tier, scope, model, home, expires } = options;
  const { body } = await context.api.send('POST', path, {
    name,
    ...(tenant === undefined ? {} : { tenant }),
    ...(tier === undefined ? {} : { tier }),
    ...(scope === undefined ? {} : { scopes: scope }),
    ...(model === undefined ? {} : { models: model.map((one) => patternOf(one, context.namespace)) }),
    ...(home === undefined ? {} : { namespace: home }),
    ...(expires === undefined ? {} : { ttlSeconds: secondsOf('--expires', expires) }),
  });
  show(context, body as CreatedKey, options);
}

/** `muster key rotate ID`: a new key with the same rights. */
export async function rotateKey(
  context: Context,
  id: string,
  options: { readonly grace?: string; readonly output?: string },
): Promise<void> {
  const graceSeconds = options.grace === undefined ? 0 : secondsOf('--grace', options.grace);
  const { body } = await context.api.send('POST', `${path}/${encodeURIComponent(id)}/rotate`, {
    graceSeconds,
  });
  const until = graceSeconds === 0 ? 'has ended' : `works for ${formatAge(graceSeconds * 1000)} more`;
  show(context, body as CreatedKey, options);
  if (options.output === undefined) context.note(`The key ${id} ${until}.`);
}

/** `muster key list`: what works; with --all also what ended. */
export async function listKeys(
  context: Context,
  options: { readonly all?: boolean; readonly output?: string },
): Promise<void> {
  const list = (await context.api.get(`${path}?all=${String(options.all === true)}`)) as KeyList;
  if (printRaw(context, list, options)) return;
  if (list.items.length === 0) {
    context.note('There is no key. Make one: muster key create NAME');
    return;
  }
  context.print(keyTable(list.items, new Date()));
}

export function keyTable(keys: readonly KeyRecord[], now: Date): string {
  const head = ['ID', 'NAME', 'STATE', 'TENANT', 'TIER', 'SCOPES', 'MODELS', 'EXPIRES', 'AGE'];
  const rows = keys.map((key) => [
    key.id,
    key.name,
    key.state,
    key.tenant,
    key.tier,
    key.scopes.join(','),
    key.models.join(','),
    expiryOf(key, now),
    ageOf(key.createdAt, now),
  ]);
  return renderTable(head, rows);
}

function expiryOf({ expiresAt, state }: KeyRecord, now: Date): string {
  if (expiresAt === null) return 'never';
  return state === 'active' ? `in ${formatAge(Date.parse(expiresAt) - now.getTime())}` : expiresAt;
}

/** `muster key revoke ID...`: returns when the control API has told its gateways. */
export async function revokeKeys(context: Context, ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await context.api.send('DELETE', `${path}/${encodeURIComponent(id)}`);
    context.print(`key ${id} revoked`);
  }
}

function show(context: Context, created: CreatedKey, options: { readonly output?: string }): void {
  if (printRaw(context, created, options)) return;
  context.print(created.key);
  context.note(
    `This is the key ${created.id} (${created.name}). It is shown this once: Muster keeps its SHA-256 alone.`,
  );
}

/** A bare name is a model of the command's namespace. */
function patternOf(model: string, namespace: string): string {
  return model === '*' || model.includes('/') ? model : `${namespace}/${model}`;
}

function secondsOf(option: string, text: string): number {
  return Math.floor(durationOf(option, text, 1_000) / 1_000);
}
