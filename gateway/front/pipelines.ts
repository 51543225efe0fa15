import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * One request of a connection at a time, as our own reader has it: node's parser hands out all that a client sends
 * without waiting for answers, and a single connection could take every place of the gateway. The others wait, within a
 * bound. The connection is read on meanwhile, or it would not be seen that the client has left.
 */
export class Pipelines {
  /** Connections that were ended for too many requests. */
  refused = 0;
  private readonly lines = new WeakMap<Socket, Line>();

  /**
   * @param begin called at once, or when the answers to all requests before it have ended; never once the client has
   *   left, or has had the connection's last answer
   * @param refuse called in its place for the first request too many, whose answer is to be the connection's last
   */
  enter(request: IncomingMessage, response: ServerResponse, begin: () => void, refuse: () => void): void {
    const { socket } = request;
    const line = this.lineOf(socket);
    if (line.isOver) return;
    if (line.current === null) {
      this.run(socket, line, { request, response, begin });
      return;
    }
    if (!line.isFull) {
      line.isFull = line.waiting.length >= waitingMax;
      if (line.isFull) this.refused += 1;
      line.waiting.push({ request, response, begin: line.isFull ? refuse : begin });
    }
    if (line.isFull) stopReading(socket, line);
  }

  /**
   * What came next is no request.
   * @param isLate it has not come in its time
   * @param refuse ends the connection: at once, or behind the answers to whole requests
   */
  fail(socket: Socket, isLate: boolean, refuse: () => void): void {
    const line = this.lines.get(socket);
    if (line?.current?.request.complete !== true || socket.destroyed) {
      refuse();
      return;
    }
    if (isLate && line.isFull) return; // its rest is not read
    line.isFull = true;
    line.waiting = line.waiting.filter(({ request }) => request.complete);
    line.onEnd = refuse;
  }

  private lineOf(socket: Socket): Line {
    const known = this.lines.get(socket);
    if (known !== undefined) return known;
    const line: Line = {
      current: null,
      waiting: [],
      isStopping: false,
      isFull: false,
      isOver: false,
      onEnd: null,
    };
    this.lines.set(socket, line);
    return line;
  }

  private run(socket: Socket, line: Line, turn: Turn): void {
    line.current = turn;
    turn.response.once('close', () => {
      line.current = null;
      line.isOver = socket.destroyed || socket.writableEnded;
      if (line.isOver) return;
      const next = line.waiting.shift();
      if (next !== undefined) this.run(socket, line, next);
      else line.onEnd?.();
    });
    turn.begin();
    if (line.isFull) stopReading(socket, line);
  }
}

/** Node reads on whenever it takes up a request or has come to the end of one, in that turn: the pause comes behind it. */
function stopReading(socket: Socket, line: Line): void {
  if (line.isStopping) return;
  line.isStopping = true;
  setImmediate(() => {
    line.isStopping = false;
    socket.pause();
  });
}

/** Requests of one connection that wait for those before them. */
export const waitingMax = 128;

interface Line {
  /** What is being answered. */
  current: Turn | null;
  waiting: Turn[];
  isStopping: boolean;
  /** The client has left, or has had the connection's last answer. */
  isOver: boolean;
  /** Nothing more is taken. */
  isFull: boolean;
  /** Behind the last that waits. */
  onEnd: (() => void) | null;
}

interface Turn {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly begin: () => void;
}
