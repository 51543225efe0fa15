import type { FastifyInstance } from 'fastify';
import { MusterError, codeOf } from '../../domain/errors.ts';

/** @throws MusterError port_in_use, naming the variable to change */
export async function listen(app: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await app.listen({ host, port, listenTextResolver: () => 'sockets are open' });
  } catch (cause) {
    const code = codeOf(cause);
    if (code === 'EADDRINUSE') {
      throw new MusterError(
        'port_in_use',
        `Port ${port} on ${host} is in use by another program. Stop that one, or set MUSTER_API_PORT to another port.`,
        { cause },
      );
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      throw new MusterError(
        'port_in_use',
        `The control API cannot listen on ${host}:${port} (${code}). Set MUSTER_HOST or MUSTER_API_PORT to what this machine has.`,
        { cause },
      );
    }
    throw cause;
  }
  const address = app.server.address();
  return typeof address === 'object' && address !== null ? address.port : port;
}

/** Exit codes: 3 says that a port is taken, 4 that the store or folder is, 1 anything else. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof MusterError)) return 1;
  if (error.code === 'port_in_use') return 3;
  return error.code === 'already_running' ? 4 : 1;
}
