import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { experimental } from '@grpc/grpc-js';
import type { TlsOptions } from '../front/tls-files.ts';

/**
 * The files of TLS as grpc-js asks for them. They are looked at again and again; renewed ones are taken without a
 * restart, and those that cannot be used are reported and the old ones stay (grpc-js's own watcher would serve nobody
 * then). It counts on being told after `add…Listener` has returned.
 */
type Listener = (update: Update) => void;
interface Update {
  readonly certificate: Buffer;
  readonly privateKey: Buffer;
  readonly caCertificate: Buffer;
}

const lookMs = 2_000;

export class TlsCertificates implements experimental.CertificateProvider {
  private readonly options: TlsOptions;
  private readonly onRefused: (error: unknown) => void;
  private readonly listeners = new Set<Listener>();
  private current: Update;
  private refused = '';
  private timer: NodeJS.Timeout | undefined;

  /** @throws when the files cannot be read or used */
  constructor(options: TlsOptions, onRefused: (error: unknown) => void) {
    this.options = options;
    this.onRefused = onRefused;
    this.current = read(options);
    check(this.current);
  }

  addCaCertificateListener(listener: Listener): void {
    this.add(listener);
  }

  removeCaCertificateListener(listener: Listener): void {
    this.remove(listener);
  }

  addIdentityCertificateListener(listener: Listener): void {
    this.add(listener);
  }

  removeIdentityCertificateListener(listener: Listener): void {
    this.remove(listener);
  }

  private add(listener: Listener): void {
    this.listeners.add(listener);
    process.nextTick(() => {
      listener(this.current);
    });
    this.timer ??= setInterval(() => {
      this.look();
    }, lookMs).unref();
  }

  private remove(listener: Listener): void {
    this.listeners.delete(listener);
    if (this.listeners.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private look(): void {
    try {
      const next = read(this.options);
      if (isSame(next, this.current)) return;
      check(next);
      this.current = next;
      this.refused = '';
      for (const listener of this.listeners) listener(next);
    } catch (error) {
      const why = String(error);
      if (why !== this.refused) this.onRefused(error);
      this.refused = why;
    }
  }
}

function read({ certPath, keyPath, clientCaPath }: TlsOptions): Update {
  return {
    certificate: readFileSync(certPath),
    privateKey: readFileSync(keyPath),
    caCertificate: clientCaPath === undefined ? Buffer.alloc(0) : readFileSync(clientCaPath),
  };
}

/** @throws when key and certificate are none, or no pair: half of a renewal */
function check({ certificate, privateKey, caCertificate }: Update): void {
  createSecureContext({
    cert: certificate,
    key: privateKey,
    ...(caCertificate.length === 0 ? {} : { ca: caCertificate }),
  });
}

function isSame(a: Update, b: Update): boolean {
  return (
    a.certificate.equals(b.certificate) &&
    a.privateKey.equals(b.privateKey) &&
    a.caCertificate.equals(b.caCertificate)
  );
}
