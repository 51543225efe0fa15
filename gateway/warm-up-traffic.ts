import type { Socket } from 'node:net';

/**
 * What is asked in a rehearsal, and what is answered. V8 compiles for the shapes that it has seen, and throws that code
 * away at the first one that it has not: so requests, heads and streams differ as those of real clients and servers
 * do, in their fields, the order of these, and in where a chunk ends.
 */

/**
 * Chats, plain and as streams, and inferences, as the bytes of whole requests. Half of the chats are plain: where a CPU is
 * slow and few are asked, most of what comes first would be cold else.
 * @param at which caller this is
 */
export function rehearsalRequests(key: string, at: number): readonly Buffer[] {
  const user = `${at} ${'To be warm before the first guest comes. '.repeat(24)}`;
  const requests: Buffer[] = [];
  const add = (path: string, body: unknown) => {
    const headers = clientHeaders[(requests.length + at) % clientHeaders.length] ?? '';
    requests.push(requestBytes(path, key, headers, body));
  };
  for (const [turn, chat] of chatsOf(user).entries()) {
    add(chatPath, chat);
    add(chatPath, { ...chat, stream: true });
    add(chatPath, chat);
    add(chatPath, { ...chat, stream: true, stream_options: { include_usage: true } });
    if (turn % 2 === 0) add('/v2/models/m/infer', inferences[(turn / 2) % inferences.length]);
  }
  return requests;
}

const chatPath = '/v1/chat/completions';

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
    if (isStream) writeInTurns(socket, streamPieces(server, withUsage, answers));
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

const words = 4;

/**
 * Words, each for itself, and an end that some servers send at once and others bit by bit.
 * @param manner a number of any size: which of them this is
 */
function streamPieces(server: string, withUsage: boolean, manner: number): string[] {
  const nulls = withUsage && manner % 2 === 1 ? { usage: null } : {};
  const event = (delta: object, finishReason: string | null) => {
    const choices = [{ index: 0, delta, finish_reason: finishReason }];
    return eventOf({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices, ...nulls });
  };
  const head = `HTTP/1.1 200 OK\r\n${server}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const begin = manner % 2 === 0 ? head + framed(event({ role: 'assistant', content: '' }, null)) : head;
  const word = event({ content: 'warm ' }, null);
  const said = Array<string>(words).fill(framed(word));
  // Now and then an event comes in two pieces.
  if (manner % 3 === 0) said.splice(-2, 1, framed(word.slice(0, 40)), framed(word.slice(40)));
  const last = [event({}, 'stop'), 'data: [DONE]\n\n'];
  if (withUsage) last.splice(1, 0, eventOf({ id: 'c', choices: [], usage }));
  return [begin, ...said, ...endPieces(last, manner)];
}

function endPieces(events: readonly string[], manner: number): string[] {
  const apart = events.map(framed);
  switch (manner % 4) {
    case 0:
      return [framed(events.join('')) + lastChunk];
    case 1:
      return [...apart, lastChunk];
    case 2:
      return [apart.join(''), lastChunk];
    default:
      return [apart.join('') + lastChunk];
  }
}

/** Each in a turn of the event loop of its own, so that its reader has it alone. */
function writeInTurns(socket: Socket, pieces: string[]): void {
  const piece = pieces.shift();
  if (piece === undefined || socket.destroyed) return;
  socket.write(piece);
  setImmediate(writeInTurns, socket, pieces);
}

const lastChunk = '0\r\n\r\n';
const framed = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const eventOf = (data: object): string => `data: ${JSON.stringify(data)}\n\n`;
