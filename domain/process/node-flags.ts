/**
 * What node is told when it starts one of Muster's processes.
 * @param nodeOptions NODE_OPTIONS of its environment: what is said there is not said again, since the command line
 * would win
 */
export function nodeFlagsFor(name: StartedProcess, nodeOptions = ''): readonly string[] {
  return name === 'gateway' && !saysYoung.test(nodeOptions) ? gatewayFlags : flags;
}

export type StartedProcess = 'up' | 'api' | 'worker' | 'observer' | 'agent' | 'gateway';

const flags = ['--disable-warning=ExperimentalWarning'];

/**
 * The bytes of a request's body lie outside of V8's heap, and count nothing towards its next collection of young
 * objects: with 16 MiB of those, node's own bound, bodies of 32 KB come to 64 MB of garbage first, where V8 begins to
 * collect everything. With 8 MiB they do not (figures: gateway/README.md).
 */
const gatewayFlags = [...flags, '--max-semi-space-size=8'];

/** Node takes both spellings. */
const saysYoung = /(?:^|\s)--(?:max|min)[-_]semi[-_]space[-_]size\b/;
