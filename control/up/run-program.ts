import { execFile, type ExecException } from 'node:child_process';

export interface ProgramResult {
  readonly ok: boolean;
  /** Standard output. */
  readonly stdout: string;
  /** Why it failed, in its own last words; empty when ok. */
  readonly failure: string;
}

export type RunProgram = (
  program: string,
  args: readonly string[],
  timeoutMs: number,
) => Promise<ProgramResult>;

/** Runs a program to its end; a missing program, a failure and too long a time are results, not exceptions. */
export const runProgram: RunProgram = (program, args, timeoutMs) =>
  new Promise((resolve) => {
    const options = { timeout: timeoutMs, maxBuffer: 16 * 1024 * 1024, killSignal: 'SIGKILL' as const };
    execFile(program, [...args], options, (error, stdout, stderr) => {
      resolve({
        ok: error === null,
        stdout,
        failure: error === null ? '' : explain(error, stderr, timeoutMs),
      });
    });
  });

function explain(error: ExecException, stderr: string, timeoutMs: number): string {
  if (error.code === 'ENOENT') return 'is not installed';
  if (error.killed === true) return `did not end within ${timeoutMs / 1000} s`;
  const words = stderr
    .trim()
    .split('\n')
    .filter((line) => line.trim() !== '' && !/^(WARNING|\[notice)/.test(line));
  return words.at(-1)?.trim() ?? error.message;
}
