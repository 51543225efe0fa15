import { stringify } from 'yaml';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { inferenceService } from '../kinds.ts';
import { readManifests } from '../manifests.ts';
import { printRaw, type RecordOptions } from './records.ts';

export interface PlanOptions extends RecordOptions {
  readonly file: readonly string[];
}

/** `muster plan -f FILE`: what a deploy would do, and why, without doing it. */
export async function plan(context: Context, options: PlanOptions): Promise<void> {
  const manifests = await readManifests(options.file, context.namespace, context.io);
  for (const manifest of manifests) {
    if (manifest.kind !== inferenceService) {
      context.note(
        `${manifest.source}: a ${manifest.kind.kind} is stored as it is, there is nothing to plan.`,
      );
      continue;
    }
    const { body } = await context.api.send('POST', '/apis/muster.dev/v1alpha1/plan', manifest.object);
    if (!printRaw(context, body, options)) context.print(stringify(body).trimEnd());
    if (manifest.missing.length > 0) {
      throw new CliError(
        `The model's files are missing: ${manifest.missing.join(', ')} does not exist.`,
        exitCodes.refused,
      );
    }
  }
}
