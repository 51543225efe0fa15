import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { script } from '@bomb.sh/tab';
import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { musterRoot } from '../up/process-list.ts';
import type { Context } from './context.ts';
import { CliError, exitCodes } from './exit-codes.ts';
import { kinds, pathOf, type Kind } from './kinds.ts';

const shells = ['bash', 'zsh', 'fish'];
/** A person waits at the prompt. */
const NAMES_TIMEOUT_MS = 700;

/** `muster completion SHELL`: the script asks `muster complete -- WORDS` at each tab. */
export function printScript(context: Context, shell: string): void {
  if (!shells.includes(shell)) {
    throw new CliError(`There is no completion for ${shell}. Known: ${shells.join(', ')}.`, exitCodes.usage);
  }
  const linked = join(musterRoot, 'node_modules', '.bin', 'muster');
  withConsole(context, () => {
    script(shell, 'muster', existsSync(linked) ? linked : 'muster');
  });
}

/** Answers `muster complete -- WORDS`: commands, options, kinds, formats, and names of what is deployed. */
export async function complete(program: Command, context: Context, words: readonly string[]): Promise<void> {
  const root = tab(program, { completionCommandName: 'complete-script' });
  const names = await deployedNames(context);
  const offer = (values: readonly string[]) => (say: (value: string, description: string) => void) => {
    for (const value of values) say(value, '');
  };
  const services = names.get('InferenceService') ?? [];
  for (const command of ['stop', 'start', 'sleep', 'history', 'events', 'logs', 'infer', 'chat']) {
    const argument = root.commands.get(command)?.arguments.get('name');
    if (argument !== undefined) argument.handler = offer(services);
  }
  const kindNames = kinds.map((kind) => kind.names[0] ?? kind.plural);
  for (const command of ['get', 'describe', 'delete']) {
    const argument = root.commands.get(command)?.arguments.get('what');
    if (argument !== undefined) argument.handler = offer([...kindNames, ...[...names.values()].flat()]);
  }
  const output = root.commands.get('get')?.options.get('output');
  if (output !== undefined) output.handler = offer(['json', 'yaml', 'wide', 'name']);
  withConsole(context, () => {
    root.parse([...words]);
  });
}

async function deployedNames(context: Context): Promise<ReadonlyMap<string, readonly string[]>> {
  const timeout = new Promise<null>((resolve) => setTimeout(resolve, NAMES_TIMEOUT_MS, null).unref());
  const lists = kinds.map(async (kind): Promise<readonly [string, readonly string[]]> => {
    const list = await Promise.race([context.api.get(pathFor(kind, context)), timeout]).catch(() => null);
    const items = (list as { items?: readonly { metadata: { name: string } }[] } | null)?.items ?? [];
    return [kind.kind, items.map((item) => item.metadata.name)];
  });
  return new Map(await Promise.all(lists));
}

const pathFor = (kind: Kind, { namespace }: Context): string =>
  pathOf(kind, kind.isNamespaced ? namespace : null);

/** The library prints by console.log only. */
function withConsole(context: Context, work: () => void): void {
  const original = console.log;
  console.log = (text: unknown) => {
    context.print(String(text));
  };
  try {
    work();
  } finally {
    console.log = original;
  }
}
