import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import type { Context } from '../context.ts';
import { CliError, exitCodes } from '../exit-codes.ts';
import { askGateway, errorWords, explainRefusal } from '../gateway.ts';

export interface ChatOptions {
  readonly system: string;
  readonly maxTokens?: string;
  readonly temperature?: string;
}

interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** Turns of a conversation that are sent along; small models have small windows. */
const TURNS_MAX = 20;

/** `muster chat NAME [PROMPT]`: one answer, or a conversation when a person sits at the terminal. */
export async function chat(
  context: Context,
  name: string,
  words: readonly string[],
  options: ChatOptions,
): Promise<void> {
  const { io } = context;
  const system: readonly Message[] =
    options.system === '' ? [] : [{ role: 'system', content: options.system }];
  const isInteractive = words.length === 0 && io.stdin.isTTY === true;
  if (isInteractive) return converse(context, name, system, options);
  const prompt = words.length > 0 ? words.join(' ') : (await text(io.stdin)).trim();
  if (prompt === '') throw new CliError('Give a PROMPT, or write it to standard input.', exitCodes.usage);
  await answer(context, name, [...system, { role: 'user', content: prompt }], options);
  context.print('');
}

async function converse(
  context: Context,
  name: string,
  system: readonly Message[],
  options: ChatOptions,
): Promise<void> {
  const { stdin, stdout } = context.io;
  context.note(`Chatting with ${name}. Ctrl-C stops an answer, Ctrl-D ends.`);
  const lines = createInterface({ input: stdin, output: stdout, prompt: '> ' });
  let current: AbortController | undefined;
  let turns: readonly Message[] = [];
  lines.on('SIGINT', () => {
    if (current === undefined) lines.close();
    current?.abort();
  });
  lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== '') {
      const asked: readonly Message[] = [...turns, { role: 'user', content: line }];
      current = new AbortController();
      const said = await answer(context, name, [...system, ...asked], options, current.signal).catch(
        (error: unknown) => {
          if (current?.signal.aborted !== true)
            context.note(error instanceof Error ? error.message : String(error));
          return '';
        },
      );
      current = undefined;
      if (said !== '') turns = [...asked, { role: 'assistant' as const, content: said }].slice(-TURNS_MAX);
      context.print('');
    }
    lines.prompt();
  }
}

/** Streams one answer to standard output. @returns all of it */
async function answer(
  context: Context,
  name: string,
  messages: readonly Message[],
  options: ChatOptions,
  signal?: AbortSignal,
): Promise<string> {
  const body = JSON.stringify({
    model: name,
    messages,
    stream: true,
    ...number('--max-tokens', 'max_tokens', options.maxTokens),
    ...number('--temperature', 'temperature', options.temperature),
  });
  const response = await askGateway(context, '/v1/chat/completions', body, signal);
  if (!response.ok || response.body === null) {
    throw explainRefusal(response.status, await response.text(), name);
  }
  let said = '';
  for await (const data of serverEvents(response.body)) {
    if (data === '[DONE]') return said;
    const error = errorWords(data);
    if (error !== null) throw new CliError(error);
    const chunk = JSON.parse(data) as { choices?: { delta?: { content?: string | null } }[] };
    const piece = chunk.choices?.[0]?.delta?.content ?? '';
    said += piece;
    context.io.stdout.write(piece);
  }
  throw new CliError(`The answer of ${name} broke off before its end.`);
}

/** The data of server-sent events. */
async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of body) {
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split(/\r?\n/);
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.startsWith('data:')) yield line.slice('data:'.length).trim();
    }
  }
}

function number(option: string, field: string, value: string | undefined): Record<string, number> {
  if (value === undefined) return {};
  const parsed = Number(value);
  if (Number.isNaN(parsed)) throw new CliError(`${option} ${value} is not a number.`, exitCodes.usage);
  return { [field]: parsed };
}
