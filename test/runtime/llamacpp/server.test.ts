import { afterEach, beforeAll, describe, expect } from '@jest/globals';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hasPython, pythonEnvironment } from '../../fixtures/environments.ts';
import { requirePart } from '../../fixtures/require.ts';

const root = new URL('../../../', import.meta.url).pathname;
const tiny = join(root, 'deploy/samples/models/tiny-llm');
const test = requirePart('python3 with venv', hasPython(), 'llama.cpp is served out of a PyPI package');

interface Launcher {
  readonly child: ChildProcess;
  readonly url: string;
  readonly errors: () => string;
}

/** The launcher with the real llama.cpp, out of the package that the runtime pins. */
describe('the llama.cpp launcher', () => {
  let python: string;
  const started: ChildProcess[] = [];
  const folders: string[] = [];

  beforeAll(async () => {
    if (hasPython()) python = await pythonEnvironment(['xllamacpp==2026.10.11549']);
  }, 300_000);
  afterEach(async () => {
    for (const child of started.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  function scratch(): string {
    const folder = mkdtempSync(join(tmpdir(), 'muster-llamacpp-'));
    folders.push(folder);
    return folder;
  }

  /** Resolves with its address once it is ready, or with '' when it ended before. */
  async function launch(...flags: string[]): Promise<Launcher> {
    const child = spawn(python, [join(root, 'runtime/llamacpp/server.py'), '--port=0', ...flags], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    started.push(child);
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
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
    return { child, url, errors: () => errors };
  }

  const complete = (url: string, tokens: number) =>
    fetch(`${url}/v1/completions`, {
      method: 'POST',
      body: JSON.stringify({ prompt: 'And the LORD', max_tokens: tokens, ignore_eos: true, stream: true }),
    });

  test('serves the one model of a folder under its alias', async () => {
    const { url } = await launch('--model_dir', tiny, '--alias=tiny-llm');
    expect((await fetch(`${url}/health`)).status).toBe(200);
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    expect(models.data.map(({ id }) => id)).toEqual(['tiny-llm']);
    expect(await (await complete(url, 5)).text()).toMatch(/\[DONE\]\s*$/);
  });

  test('lets no web page of another origin read its answers', async () => {
    const { url } = await launch(`--model=${join(tiny, 'muster-tiny.gguf')}`);
    const answer = await fetch(`${url}/health`, { headers: { origin: 'http://elsewhere.example' } });
    expect(answer.headers.get('access-control-allow-origin') ?? '').toBe('');
  });

  test('serves embeddings when asked to', async () => {
    const { url } = await launch('--model_dir', tiny, '--alias=tiny-llm', '--embedding');
    const answer = await fetch(`${url}/v1/embeddings`, {
      method: 'POST',
      body: JSON.stringify({ model: 'tiny-llm', input: 'And God said' }),
    });
    const { data } = (await answer.json()) as { data: { embedding: number[] }[] };
    expect(data[0]?.embedding).toHaveLength(128);
  });

  test('on SIGTERM finishes every stream in flight, takes no new connection, and ends with 0', async () => {
    const { child, url } = await launch('--model_dir', tiny);
    const streams = Array.from({ length: 12 }, async () => (await complete(url, 400)).text());
    // All connected: some computing, the others waiting for a slot.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    for (const text of await Promise.all(streams)) expect(text).toMatch(/\[DONE\]\s*$/);
    expect(await ended).toEqual([0, null]);
    await expect(fetch(`${url}/health`)).rejects.toThrow();
  }, 60_000);

  test('cuts what outlasts the grace, and ends with 0 all the same', async () => {
    const { child, url } = await launch('--model_dir', tiny, '--grace-seconds=0');
    const streams = Array.from({ length: 12 }, async () => (await complete(url, 400)).text());
    const settled = Promise.allSettled(streams);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    await settled;
  });

  test('refuses a folder of several models, a folder of none and one that is not there', async () => {
    const folder = scratch();
    expect((await launch('--model_dir', folder)).url).toBe('');
    for (const name of ['a.gguf', 'b.gguf']) copyFileSync(join(tiny, 'muster-tiny.gguf'), join(folder, name));
    const several = await launch('--model_dir', folder);
    expect(several.errors()).toContain('holds several models (a.gguf, b.gguf)');
    expect(several.child.exitCode).toBe(1);
    const absent = await launch('--model_dir', join(folder, 'nope'));
    expect(absent.errors().trim()).toBe(
      `muster-llamacpp: the model folder ${join(folder, 'nope')} does not exist`,
    );
  });

  test('says of a file that is no GGUF what it starts with, and of one that is cut that llama.cpp refused it', async () => {
    const folder = scratch();
    const file = join(folder, 'model.gguf');
    writeFileSync(file, 'junk of some length');
    const junk = await launch('--model', file);
    expect(junk.errors().trim()).toBe(`muster-llamacpp: ${file} is not a GGUF file: it starts with b'junk'`);
    writeFileSync(file, 'GGUF\u0003');
    const cut = await launch('--model', file);
    expect(cut.child.exitCode).toBe(1);
    // llama.cpp logs from a thread of its own, also into the midst of our line.
    expect(cut.errors()).toContain('muster-llamacpp: llama.cpp could not load ');
  });

  test('says that a port is in use', async () => {
    const { url } = await launch('--model_dir', tiny);
    const second = await launch('--model_dir', tiny, `--port=${new URL(url).port}`);
    expect(second.errors().trim()).toMatch(/^muster-llamacpp: port \d+ of 127\.0\.0\.1 is in use$/);
  });

  test('ends with 2 when it is not told which model', async () => {
    const neither = await launch();
    expect(neither.child.exitCode).toBe(2);
    expect(neither.errors()).toContain('give either --model FILE or --model_dir FOLDER');
  });
});
