import { readFileSync } from 'node:fs';
import type { Server, ServerOptions } from 'node:https';
import type { Logger } from 'pino';
import { fileStamp } from '../file-stamp.ts';

/**
 * TLS for clients, from files. They are looked at again and again, so that a certificate is renewed without a
 * restart: a rotation by renaming or by links (as Kubernetes does it) is seen, too. New files that cannot be used are
 * logged and the old certificate stays. Connections that are open keep theirs.
 */
export interface TlsOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** Authority that signs clients' certificates; without it clients are not asked for one. */
  readonly clientCaPath?: string;
  /** A client without a certificate of that authority is refused in the handshake. */
  readonly requireClientCertificate?: boolean;
}

const lookMs = 2_000;

export class TlsFiles {
  /** Rotations that were taken, and those that failed. */
  readonly counts = { reloaded: 0, refused: 0 };
  private readonly settings: TlsOptions;
  private readonly logger: Logger;
  private readonly lookMs: number;
  private seen: string;

  constructor(settings: TlsOptions, logger: Logger, everyMs = lookMs) {
    if (settings.requireClientCertificate === true && settings.clientCaPath === undefined)
      throw new Error('client certificates can only be required with an authority: set clientCaPath');
    this.settings = settings;
    this.logger = logger;
    this.lookMs = everyMs;
    this.seen = this.look();
  }

  /** @throws when a file cannot be read */
  options(): ServerOptions {
    const { clientCaPath, requireClientCertificate = false } = this.settings;
    return {
      ...this.secrets(),
      requestCert: clientCaPath !== undefined,
      rejectUnauthorized: requireClientCertificate,
      minVersion: 'TLSv1.2',
      ALPNProtocols: ['http/1.1'],
    };
  }

  /** Keeps the server's certificates as the files are, until it is closed. */
  follow(server: Server): void {
    const timer = setInterval(() => {
      this.reload(server);
    }, this.lookMs).unref();
    server.once('close', () => {
      clearInterval(timer);
    });
  }

  private reload(server: Server): void {
    try {
      const now = this.look();
      if (now === this.seen) return;
      this.seen = now; // also when they are of no use: said once, and looked at again when they change
      server.setSecureContext({ ...this.secrets(), minVersion: 'TLSv1.2' });
      this.counts.reloaded += 1;
      this.logger.info('the certificate was read anew');
    } catch (error) {
      this.counts.refused += 1;
      this.logger.error({ err: error }, 'the new certificate cannot be used: the old one stays');
    }
  }

  private secrets(): { cert: Buffer; key: Buffer; ca?: Buffer } {
    const { certPath, keyPath, clientCaPath } = this.settings;
    const ca = clientCaPath === undefined ? {} : { ca: readFileSync(clientCaPath) };
    return { cert: readFileSync(certPath), key: readFileSync(keyPath), ...ca };
  }

  private look(): string {
    const { certPath, keyPath, clientCaPath } = this.settings;
    return fileStamp([certPath, keyPath, ...(clientCaPath === undefined ? [] : [clientCaPath])]);
  }
}
