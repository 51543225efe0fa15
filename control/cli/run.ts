import { CommanderError } from 'commander';
import { MusterError } from '../../domain/errors.ts';
import { createContext, type Io } from './context.ts';
import { CliError, exitCodeOf, exitCodes } from './exit-codes.ts';
import { createProgram } from './program.ts';

/** Runs one command line. @returns the exit code; what went wrong is said on stderr in plain words */
export async function run(args: readonly string[], io: Io): Promise<number> {
  const program = createProgram(io);
  try {
    if (args[0] === 'complete') {
      const { complete } = await import('./completion.ts');
      await complete(program, createContext(io, {}), args.slice(args[1] === '--' ? 2 : 1));
      return exitCodes.ok;
    }
    await program.parseAsync([...args], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has said all itself; help that was asked for is no error.
      return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    }
    const isDebugging = (io.env['MUSTER_DEBUG'] ?? '') !== '';
    const text =
      error instanceof Error ? ((isDebugging ? error.stack : undefined) ?? error.message) : String(error);
    io.stderr.write(`muster: ${text}\n`);
    if (error instanceof CliError) return error.exitCode;
    return error instanceof MusterError ? exitCodeOf(error.code) : exitCodes.failed;
  }
}
