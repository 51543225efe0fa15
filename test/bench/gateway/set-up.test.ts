import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { contenders } from '../../../bench/gateway/contenders.ts';
import { nginxConfig } from '../../../bench/gateway/nginx.ts';
import { UsageError, readOptions } from '../../../bench/gateway/options.ts';
import { makeRoutes } from '../../../bench/gateway/routes.ts';
import { scaleWorkloads, workloadNames, workloads } from '../../../bench/gateway/workloads.ts';
import { readRoutes } from '../../../gateway/route-table/routes-file.ts';

const servers = ['http://127.0.0.1:1', 'http://127.0.0.1:2'];

describe('the routes that the gateway is measured with', () => {
  test('are a file that it takes, and the key of the load is one of a thousand that it knows', () => {
    const { text, header } = makeRoutes(servers, false);
    const table = readRoutes('routes.json', text, 1);
    const access = table.policy?.access;
    expect(access?.mode).toBe('required');
    expect(access?.keys).toHaveLength(1_000);
    const key = header?.replace('authorization: Bearer ', '') ?? '';
    const sha256 = createHash('sha256').update(key).digest('hex');
    expect(access?.keys.filter((known) => known.sha256 === sha256)).toHaveLength(1);
    expect(table.services[0]?.targets[0]?.endpoints.map(({ address }) => address)).toEqual(servers);
  });

  test('hold no policy when the bare data path is measured', () => {
    const { text, header } = makeRoutes(servers, true);
    expect(readRoutes('routes.json', text, 1).policy).toBeUndefined();
    expect(header).toBeNull();
  });
});

describe('the options of the bench', () => {
  test('hold two processes against one with --scale, and take more but not fewer', () => {
    expect(readOptions(['--scale'], [])).toMatchObject({ isScale: true, processes: 2 });
    expect(readOptions(['--scale', '--processes', '4'], [])).toMatchObject({ processes: 4 });
    expect(() => readOptions(['--scale', '--processes', '1'], [])).toThrow(UsageError);
    expect(() => readOptions(['--scale', '--with', 'envoy'], ['envoy'])).toThrow(
      '--scale goes without --with.',
    );
  });

  test('are three rounds of everything unless told otherwise', () => {
    const options = readOptions([], []);
    expect(options).toMatchObject({
      json: false,
      rounds: 3,
      only: [],
      peers: [],
      processes: 1,
      soakMinutes: 0,
    });
  });

  test('are one short round with --quick', () => {
    expect(readOptions(['--quick'], [])).toMatchObject({ rounds: 1, seconds: 1.5 });
    expect(readOptions(['--quick', '--rounds', '2'], [])).toMatchObject({ rounds: 2 });
  });

  test.each([
    ['--rouds', '3'],
    ['--processes', '0'],
    ['--rounds', 'many'],
    ['--rounds', '0'],
    ['--patience', '-1'],
    ['--only', 'W6'],
    ['--with', 'apache'],
    ['--beside', '/tmp/no-such-checkout'],
  ])('refuse %s %s', (name, value) => {
    expect(() => readOptions([name, value], ['envoy'])).toThrow(UsageError);
  });
});

test('another checkout of the gateway may be a contender beside this one', () => {
  const root = new URL('../../../', import.meta.url).pathname;
  const names = (args: readonly string[]) => contenders(readOptions(args, [])).map(({ name }) => name);
  expect(names(['--beside', root])).toEqual(['nginx', 'muster', 'beside']);
  expect(names([])).toEqual(['nginx', 'muster']);
});

test('every workload has a name of its own and is asked of the mock and of the load', () => {
  expect(workloads(false).map(({ name }) => name)).toEqual(workloadNames);
  for (const { load, mock } of workloads(true)) {
    expect(load).toContain('-c');
    expect(mock).toMatch(/^delay_us=\d+&ttft_us=\d+&cache=[01]$/);
  }
});

test('each of several processes gets the load of one', () => {
  const numbers = (processes: number) =>
    scaleWorkloads(processes, false).map(({ load }) =>
      ['-c', '-rate', '-warmn'].map((name) => Number(load[load.indexOf(name) + 1])),
    );
  const asked = (processes: number) => numbers(processes).flat().filter(Number.isFinite);
  expect(asked(1)).toEqual([32, 20_000, 64, 4_000]);
  expect(asked(3)).toEqual(asked(1).map((value) => value * 3));
});

test('nginx gets every server and its port, and writes into the scratch folder alone', () => {
  const config = nginxConfig('/scratch', 8123, servers, 2);
  expect(config).toContain('worker_processes 2;');
  expect(config).toContain('server 127.0.0.1:1; server 127.0.0.1:2;');
  expect(config).toContain('listen 127.0.0.1:8123 ');
  for (const [, path] of config.matchAll(/(?:_temp_path|pid) (\S+);/g)) expect(path).toMatch(/^\/scratch\//);
});
