import { Option } from 'commander';

/** Options that several commands have. */

/** Checked before a command begins: what it makes may be shown this once. */
export const rawOutput = (): Option =>
  new Option('-o, --output <format>', 'print the object itself').choices(['json', 'yaml']);

/** One that may be given several times. */
export function repeated(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, before: string[] | undefined) => [
    ...(before ?? []),
    value,
  ]);
}
