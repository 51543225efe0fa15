/**
 * Loaded into every Node child of the embedded parent by `node --import`. The parent may die without a word
 * (kill -9); then nobody would stop the child, so the child watches: a pipe that only the parent holds open, and
 * the parent's pid as the kernel sees it. When either says that the parent is gone the child gets the SIGTERM that
 * the parent would have sent, and SIGKILL if that is not enough.
 *
 * The one module besides main.ts files that acts when it is imported: that is its purpose.
 */
import { Socket } from 'node:net';

const POLL_MS = 1000;
const GRACE_MS = 10_000;

const held = process.env['MUSTER_LEASH'];
// Threads and forked children inherit the --import, but their descriptor 3 is another thing: the variable is
// what says that this process is the one on the leash, and it is not passed on.
delete process.env['MUSTER_LEASH'];
if (held !== undefined) watch(Number(held));

function watch(parent: number): void {
  let isEnding = false;
  const end = () => {
    if (isEnding) return;
    isEnding = true;
    process.kill(process.pid, 'SIGTERM');
    setTimeout(() => {
      process.kill(process.pid, 'SIGKILL');
    }, GRACE_MS).unref();
  };
  const pipe = new Socket({ fd: 3, readable: true, writable: false });
  pipe.on('error', end);
  pipe.on('close', end);
  pipe.resume();
  pipe.unref();
  setInterval(() => {
    if (process.ppid !== parent) end();
  }, POLL_MS).unref();
}
