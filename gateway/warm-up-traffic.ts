import type { Socket } from 'node:net';

/**
 * What is asked in a rehearsal, and what is answered. V8 compiles for the shapes that it has seen, and throws that code
 * away at the first one that it has not: so requests, heads and streams differ as those of real clients and servers
 * do, in their fields, the order of these, and in where a chunk ends.
 */

/** Bodies of chats and of inferences in turn, as the bytes of whole requests. @param at which caller this is */
export function rehearsalRequests(key: string, at: number): readonly Buffer[] {
  const user = `${at} ${'To be warm before the first guest comes. '.repeat(24)}`;
  const requests: Buffer[] = [];
  const add = (path: string, body: unknown) => {
    const headers = clientHeaders[(requests.length + at) % clientHeaders.length] ?? '';
    requests.push(requestBytes(path, key, headers, body));
  };
  for (const [turn, chat] of chatsOf(user).entries()) {
    add('/v1/chat/completions', chat);
    add('/v1/chat/completions', { ...chat, stream: true });
    add('/v1/chat/completions', { ...chat, stream: true, stream_options: { include_usage: true } });
    add('/v2/models/m/infer', inferences[turn % inferences.length]);
  }
  return requests;
}

/** The fields of a chat as the clients of this field order them. More than four, which V8 takes for any. */
function chatsOf(content: string): readonly object[] {
  const asked = { role: 'user', content };
  const messages = [{ role: 'system', content: 'You are warm.' }, asked];
  const model = 'm';
  return [
    { model, messages: [asked], max_tokens: 16 },
    { model, messages, temperature: 0, max_tokens: 16 },
    { messages, model, temperature: 0.7, top_p: 0.9 },
    { model, messages: [{ ...asked, name: 'guest' }], n: 1, max_completion_tokens: 16, seed: 1 },
    { messages: [{ content, role: 'user' }], model, user: 'guest', stop: ['\n'] },
    { model, temperature: 1, messages, logprobs: false, presence_penalty: 0 },
  ];
}

const input = { name: 'x', shape: [1, 4], datatype: 'FP32', data: [1.5, 2.5, 3.5, 4.5] };
const inferences = [{ inputs: [input] }, { id: '1', inputs: [input], outputs: [{ name: 'y' }] }];

const clientHeaders = [
  '',
  'accept: application/json\r\nuser-agent: rehearsal\r\n',
  'Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: rehearsal\r\n',
  'x-request-id: rehearsal\r\naccept: */*\r\n',
  'User-Agent: rehearsal\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n',
];

function requestBytes(path: string, key: string, headers: string, body: unknown): Buffer {
  const bytes = Buffer.from(JSON.stringify(body));
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${key}\r\n${headers}content-type: application/json\r\ncontent-length: ${bytes.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), bytes]);
}

/** Of a message that was sent by this process: it need not be doubted. */
export function isWhole(text: string): boolean {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, headEnd));
  if (length !== null) return text.length >= headEnd + 4 + Number(length[1]);
  return text.endsWith('\r\n0\r\n\r\n');
}

/** A server that answers at once, each time in another server's manner. */
export function answerAll(socket: Socket): void {
  let got = '';
  let answers = 0;
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    got += chunk.toString('latin1');
    if (!isWhole(got)) return;
    const isStream = got.includes('"stream":true');
    const isInfer = got.startsWith('POST /v2/');
    const withUsage = got.includes('"include_usage":true');
    got = '';
    answers += 1;
    const server = serverHeaders[answers % serverHeaders.length] ?? '';
    if (isStream) new StreamAnswer(socket, server, withUsage, answers).begin();
    else socket.write(plainAnswer(isInfer ? inferred : completed, server));
  });
}

const serverHeaders = [
  '',
  'date: Tue, 01 Dec 2026 00:00:00 GMT\r\nserver: uvicorn\r\n',
  'Server: llama.cpp\r\nKeep-Alive: timeout=60, max=100\r\n',
  'Cache-Control: no-cache\r\nX-Request-Id: rehearsal\r\n',
  'date: Tue, 01 Dec 2026 00:00:00 GMT\r\nConnection: keep-alive\r\nVary: Accept\r\n',
];

function plainAnswer(body: string, server: string): string {
  return `HTTP/1.1 200 OK\r\n${server}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

const usage = { prompt_tokens: 256, completion_tokens: 16, total_tokens: 272 };
const message = { role: 'assistant', content: 'warm' };
const completed = JSON.stringify({
  id: 'c',
  object: 'chat.completion',
  created: 1,
  model: 'm',
  choices: [{ index: 0, message, finish_reason: 'stop' }],
  usage,
});
const output = { name: 'y', shape: [1, 1], datatype: 'FP32', data: [1.5] };
const inferred = JSON.stringify({ model_name: 'm', outputs: [output] });

/** Words each in a turn of their own; the end in one piece or in several, as servers have it. */
class StreamAnswer {
  private left = words;
  private readonly socket: Socket;
  private readonly server: string;
  private readonly withUsage: boolean;
  private readonly manner: number;

  constructor(socket: Socket, server: string, withUsage: boolean, manner: number) {
    this.socket = socket;
    this.server = server;
    this.withUsage = withUsage;
    this.manner = manner;
  }

  begin(): void {
    this.socket.write(
      `HTTP/1.1 200 OK\r\n${this.server}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    if (this.manner % 2 === 0)
      this.socket.write(framed(this.event({ role: 'assistant', content: '' }, null)));
    setImmediate(this.goOn);
  }

  private readonly goOn = (): void => {
    const { socket } = this;
    if (socket.destroyed) return;
    if (this.left === 0) {
      this.end();
      return;
    }
    this.left -= 1;
    const event = this.event({ content: 'warm ' }, null);
    // Now and then an event comes in two pieces.
    if (this.manner % 3 === 0 && this.left === 2) {
      socket.write(framed(event.slice(0, 40)));
      socket.write(framed(event.slice(40)));
    } else socket.write(framed(event));
    setImmediate(this.goOn);
  };

  private end(): void {
    const events = [this.event({}, 'stop')];
    if (this.withUsage) events.push(`data: ${JSON.stringify({ id: 'c', choices: [], usage })}\n\n`);
    events.push('data: [DONE]\n\n');
    const bytes =
      this.manner % 2 === 0 ? framed(events.join('')) : events.map((event) => framed(event)).join('');
    this.socket.write(`${bytes}0\r\n\r\n`);
  }

  private event(delta: object, finishReason: string | null): string {
    const choice = { index: 0, delta, finish_reason: finishReason };
    const body = { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [choice] };
    return `data: ${JSON.stringify(this.withUsage && this.manner % 2 === 1 ? { ...body, usage: null } : body)}\n\n`;
  }
}

const words = 8;

const framed = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
