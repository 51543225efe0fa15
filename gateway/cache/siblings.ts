import cluster from 'node:cluster';
import { isMessage } from '../cluster/messages.ts';

/**
 * The other processes of the same gateway (--processes): they share a port, so a purge that one of them is asked for
 * is for all of them, also without Redis. The first process passes it on (cluster/primary.ts).
 */
export interface Siblings {
  tell(serviceId: string): void;
  listen(purged: (serviceId: string) => void): void;
}

/** @returns null for a gateway of one process */
export function siblings(): Siblings | null {
  if (!cluster.isWorker) return null;
  return {
    tell: (serviceId) => {
      if (process.connected) process.send?.({ muster: 'purged', serviceId }, undefined, undefined, ignore);
    },
    listen: (purged) => {
      process.on('message', (message: unknown) => {
        if (!isMessage(message) || message.muster !== 'purged' || !('serviceId' in message)) return;
        if (typeof message.serviceId === 'string') purged(message.serviceId);
      });
    },
  };
}

/** The first process is gone: so will this one be. */
const ignore = (): void => undefined;
