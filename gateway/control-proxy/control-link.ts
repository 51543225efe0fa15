import type { ControlClient } from '../route-table/control-client.ts';

/**
 * The way from a gateway to its control API, for what only that knows: files, batches, waking a service. Null while the
 * gateway stands alone. Set once, when the gateway learns where its tables come from.
 */
export class ControlLink {
  client: ControlClient | null = null;
}
