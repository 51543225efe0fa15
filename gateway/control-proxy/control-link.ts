import type { ControlClient } from '../route-table/control-client.ts';

/**
 * The way from a gateway to its control API, for what only that knows: files, batches, waking a service. Null while the
 * gateway stands alone. Set once, when the gateway learns where its tables come from.
 */
export class ControlLink {
  client: ControlClient | null = null;

  /** Null: nothing can be woken. */
  wake(): ((namespace: string, name: string, signal: AbortSignal) => Promise<void>) | null {
    const { client } = this;
    if (client === null) return null;
    return (namespace, name, signal) => client.post('/internal/wake', { namespace, name }, signal);
  }
}
