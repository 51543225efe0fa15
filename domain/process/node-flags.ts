/** What node is told when it starts one of Muster's processes. */
export function nodeFlagsFor(processName: string): readonly string[] {
  return processName === 'gateway' ? gatewayFlags : flags;
}

const flags = ['--disable-warning=ExperimentalWarning'];

/**
 * The bytes of a request's body lie outside of V8's heap, and count nothing towards its next collection of young
 * objects: with 16 MiB of those (node's own) bodies of 32 KB made 64 MB of garbage first, V8's bound for a collection
 * of everything, four times a second. With 8 MiB none is needed: a quarter less CPU in W5 (bench/gateway), 85 MB less memory, and
 * nothing lost with small bodies.
 */
const gatewayFlags = [...flags, '--max-semi-space-size=8'];
