import { lookup } from 'node:dns/promises';
import { createServer, isIP } from 'node:net';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';

/** Takes the connections of the gRPC port: grpc-js's own port bounds none, and tells of none. */
export interface ListenerOptions {
  /** More are closed at once. */
  readonly connectionsMax: number;
  readonly onConnection: (socket: Socket) => void;
}

export class GrpcListener {
  /** Connections that were closed at once. */
  dropped = 0;
  private readonly options: ListenerOptions;
  private readonly servers: NetServer[] = [];
  private readonly sockets = new Set<Socket>();

  constructor(options: ListenerOptions) {
    this.options = options;
  }

  get connections(): number {
    return this.sockets.size;
  }

  /**
   * On every address of a name, as many as can be had.
   * @param port 0: any free port
   * @returns the port
   * @throws Error with code EADDRINUSE when the port is taken on all
   */
  async listen(host: string, port: number): Promise<number> {
    const addresses = isIP(host) === 0 ? await addressesOf(host) : [host];
    let bound = port;
    let failed: unknown;
    for (const address of addresses) {
      try {
        bound = await this.bind(address, bound);
      } catch (error) {
        failed ??= error;
      }
    }
    if (this.servers.length === 0) throw failed;
    return bound;
  }

  /** Takes no more connections. @returns when those there were are closed */
  async close(): Promise<void> {
    const close = (server: NetServer) =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    await Promise.all(this.servers.map(close));
  }

  destroy(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  private bind(host: string, port: number): Promise<number> {
    const server = createServer((socket) => {
      this.accept(socket);
    });
    server.maxConnections = this.options.connectionsMax;
    server.on('drop', () => (this.dropped += 1));
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject);
        this.servers.push(server);
        resolve((server.address() as AddressInfo).port);
      });
    });
  }

  /** Each server counts its own alone: here all are counted together. */
  private accept(socket: Socket): void {
    if (this.sockets.size >= this.options.connectionsMax) {
      this.dropped += 1;
      socket.destroy();
      return;
    }
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
    this.options.onConnection(socket);
  }
}

async function addressesOf(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
