import { parseDuration } from './age.ts';
import { CliError, exitCodes } from './exit-codes.ts';

/**
 * What an option says as a duration, in milliseconds.
 *
 * @throws CliError for what is none, or shorter than `leastMs`
 */
export function durationOf(option: string, text: string, leastMs = 0): number {
  const ms = parseDuration(text);
  if (ms !== null && ms >= leastMs) return ms;
  throw new CliError(`${option} ${text} is not a duration. Write it like 90s, 12h or 30d.`, exitCodes.usage);
}
