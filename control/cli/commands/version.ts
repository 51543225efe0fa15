import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { musterRoot } from '../../up/process-list.ts';
import type { Context } from '../context.ts';

/** `muster version`. */
export function version(context: Context): void {
  const manifest = JSON.parse(readFileSync(join(musterRoot, 'package.json'), 'utf8')) as { version: string };
  context.print(`muster ${manifest.version} (node ${process.versions.node})`);
}
