import { createServer, connect } from 'node:net';

/**
 * Free ports for model servers, from the operating system. A port that was given lately is not given again for a
 * while: a gateway may still know it as another model's address. It can be taken by a stranger between here and
 * the server's own bind; then the server ends, and its restart gets another port.
 */
const rememberedPorts = 256;

export class Ports {
  readonly #recent: number[] = [];
  readonly #host: string;

  constructor(host = '127.0.0.1') {
    this.#host = host;
  }

  /** Marks a port as given, for servers that were adopted. */
  note(port: number): void {
    this.#recent.push(port);
    if (this.#recent.length > rememberedPorts) this.#recent.shift();
  }

  async take(): Promise<number> {
    for (let attempt = 0; attempt < rememberedPorts; attempt++) {
      const port = await freePort(this.#host);
      if (this.#recent.includes(port)) continue;
      this.note(port);
      return port;
    }
    throw new Error('The operating system gave no unused port.');
  }
}

function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ port: 0, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('no port'));
        else resolve(address.port);
      });
    });
  });
}

/** True when something accepts connections there within the time. */
export function acceptsConnections(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const answer = (ok: boolean): void => {
      socket.destroy();
      resolve(ok);
    };
    socket.setTimeout(timeoutMs, () => {
      answer(false);
    });
    socket.once('connect', () => {
      answer(true);
    });
    socket.once('error', () => {
      answer(false);
    });
  });
}
