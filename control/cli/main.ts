#!/usr/bin/env node
import { homedir } from 'node:os';
import { run } from './run.ts';

/** The command `muster`. */
for (const stream of [process.stdout, process.stderr]) {
  // Who reads us has seen enough (`muster get | head -1`): no error.
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  home: homedir(),
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
});
