import { afterEach, beforeAll, describe, expect } from '@jest/globals';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { hasPython, pythonEnvironment } from '../../fixtures/environments.ts';
import { startTestGateway } from '../../fixtures/gateway/gateway.ts';
import type { TestGateway } from '../../fixtures/gateway/gateway.ts';
import { service, table } from '../../fixtures/gateway/tables.ts';
import { requirePart } from '../../fixtures/require.ts';
import { hear } from '../../fixtures/resilience/stand-in.ts';

const root = new URL('../../../', import.meta.url).pathname;
const test = requirePart('python3 with venv', hasPython(), 'llama.cpp is served out of a PyPI package');
const usage = { stream_options: { include_usage: true } };
const greedy = { model: 'm', stream: true, temperature: 0, ...usage };

/** Real llama.cpp servers with the sample's model, killed while they write. */
describe('llama.cpp that is killed in the middle of a stream', () => {
  let python: string;
  let gateway: TestGateway;
  const servers = new Map<string, ChildProcess>();
  beforeAll(async () => {
    if (hasPython()) python = await pythonEnvironment(['xllamacpp==2026.10.11549']);
  }, 300_000);
  afterEach(async () => {
    await gateway.close();
    for (const child of servers.values()) await kill(child);
    servers.clear();
  });

  async function kill(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async function launch(): Promise<string> {
    const flags = ['--port=0', '--alias=m', '--parallel=1', '--ctx=2048'];
    const model = join(root, 'deploy/samples/models/tiny-llm');
    const script = join(root, 'runtime/llamacpp/server.py');
    const child = spawn(python, [script, '--model_dir', model, ...flags], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const url = await new Promise<string>((resolve) => {
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const ready = /^READY (\S+)$/m.exec(output)?.[1];
        if (ready !== undefined) resolve(ready);
      });
      child.once('close', () => {
        resolve('');
      });
    });
    if (url === '') throw new Error('llama.cpp did not start');
    servers.set(url, child);
    return url;
  }

  /** Kills whoever writes once the client has so many bytes; 0: nobody. */
  async function ask(path: string, body: object, killAfterBytes: number) {
    const answer = await fetch(`${gateway.url}${path}`, { method: 'POST', body: JSON.stringify(body) });
    let stream = '';
    let killed: string | null = null;
    for await (const chunk of answer.body!) {
      stream += Buffer.from(chunk as Uint8Array).toString();
      if (killAfterBytes === 0 || killed !== null || stream.length < killAfterBytes) continue;
      killed = [...servers.keys()].find((url) => gateway.endpoints.bind(url).inFlight > 0) ?? null;
      if (killed !== null) await kill(servers.get(killed)!);
    }
    return { ...hear(stream), killed };
  }

  /** Which of the prompt's tokens a server had in its cache is its own affair. */
  const told = ({ usage: counted, killed: _killed, ...rest }: Awaited<ReturnType<typeof ask>>) => ({
    ...rest,
    usage: [counted?.['prompt_tokens'], counted?.['completion_tokens'], counted?.['total_tokens']],
  });

  test.each([
    [
      '/v1/completions',
      { ...greedy, prompt: 'And the LORD said unto Moses', max_tokens: 300, ignore_eos: true },
    ],
    [
      '/v1/chat/completions',
      {
        ...greedy,
        messages: [{ role: 'user', content: 'In the beginning' }],
        max_tokens: 300,
        ignore_eos: true,
      },
    ],
  ])(
    '%s: the client reads the unbroken text, and the tokens add up',
    async (path, body) => {
      gateway = await startTestGateway();
      const policy = { resilience: { all: { midStream: { mode: 'continue' as const } } } };
      let version = 0;
      // A model of a million parameters may have said all before it is killed: then it is tried anew.
      for (let tries = 1, turn = 0; tries < 2; turn += 1) {
        expect(turn).toBeLessThan(10);
        for (const child of servers.values()) await kill(child);
        servers.clear();
        const ready = [await launch(), await launch()];
        gateway.store.apply({ ...table([service('m', { ready })], (version += 1)), policy }, -1);
        const unbroken = await ask(path, body, 0);
        expect(unbroken).toMatchObject({ dones: 1, errors: 0, finishes: ['length'] });
        const broken = await ask(path, body, 1_000);
        expect(gateway.logs.filter((line) => line['msg'] === 'a cut stream cannot be gone on with')).toEqual(
          [],
        );
        expect({ ...told(broken), ids: broken.ids.size }).toEqual({ ...told(unbroken), ids: 1 });
        const logged = gateway.logs.findLast((line) => line['msg'] === 'request');
        tries = Number(logged?.['tries']);
      }
    },
    120_000,
  );
});
