import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { MusterError } from '../../domain/errors.ts';

/** A port that a process of ours will listen on. */
export interface WantedPort {
  readonly process: string;
  /** Environment variable that sets it. */
  readonly variable: string;
  readonly port: number;
}

/**
 * Tries every port before anything is started, so that a conflict is said at once and nothing has to be undone.
 * @throws MusterError port_in_use that names all ports in use, their variables and, if known, their holders
 */
export async function checkPorts(host: string, wanted: readonly WantedPort[]): Promise<void> {
  const taken = wanted.filter((a, i) => wanted.some((b, j) => j < i && a.port === b.port));
  if (taken[0] !== undefined) {
    const { port, variable } = taken[0];
    throw new MusterError('port_in_use', `Port ${port} is wanted twice. Give ${variable} another port.`);
  }
  const errors = await Promise.all(
    wanted.map(async (w) => {
      const failure = await tryToListen(host, w.port);
      return failure === null ? null : describe(host, w, failure);
    }),
  );
  const problems = errors.filter((e) => e !== null);
  if (problems.length > 0) throw new MusterError('port_in_use', problems.join(' '));
}

/** A port that is free now. */
export async function freePort(host: string): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string')
    throw new MusterError('internal', 'No free port was found.');
  return address.port;
}

/** @returns true when something accepts connections there. */
export function isListening(host: string, port: number, timeoutMs = 1000): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const end = (open: boolean) => {
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => {
      end(true);
    });
    socket.once('error', () => {
      end(false);
    });
    socket.once('timeout', () => {
      end(false);
    });
  });
}

/** The sentence for a port that cannot be had. */
export function describePortInUse(host: string, wanted: WantedPort): string {
  return describe(host, wanted, 'EADDRINUSE');
}

function describe(host: string, { process: name, variable, port }: WantedPort, code: string): string {
  if (code !== 'EADDRINUSE') {
    return `The ${name} cannot listen on ${host}:${port} (${code}). Set ${variable} or MUSTER_HOST.`;
  }
  const holder = findHolder(port);
  const by = holder === null ? '' : ` by ${holder}`;
  return `Port ${port}, wanted for the ${name}, is in use${by}. Stop that, or set ${variable} to another port.`;
}

function tryToListen(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code ?? error.message);
    });
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => {
        resolve(null);
      });
    });
  });
}

/** @returns for example `node (process 4711)`; null when it cannot be found out. */
function findHolder(port: number): string | null {
  try {
    return process.platform === 'linux' ? findOnLinux(port) : findByLsof(port);
  } catch {
    return null;
  }
}

function findOnLinux(port: number): string | null {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const listening = '0A';
  const inodes = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter((f) => f[1]?.endsWith(`:${hex}`) === true && f[3] === listening)
      .map((f) => `socket:[${f[9] ?? ''}]`),
  );
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    if (socketsOf(pid).some((link) => inodes.includes(link))) {
      return `${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()} (process ${pid})`;
    }
  }
  return null;
}

function socketsOf(pid: string): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return '';
      }
    });
  } catch {
    return []; // another user's process
  }
}

function findByLsof(port: number): string | null {
  const found = spawnSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-Fpc'], { encoding: 'utf8' });
  const pid = /^p(\d+)$/m.exec(found.stdout)?.[1];
  const command = /^c(.+)$/m.exec(found.stdout)?.[1];
  return pid === undefined ? null : `${command ?? 'a program'} (process ${pid})`;
}
