import type { ServerResponse } from 'node:http';

export interface SnapshotStreamsOptions {
  /** The newest snapshot as one line of JSON without its line end. */
  readonly latest: () => string;
  readonly heartbeatMs: number;
  /** A reader that took nothing for so long is disconnected. */
  readonly stuckMs: number;
  readonly streamsMax: number;
}

interface Stream {
  readonly response: ServerResponse;
  readonly onClose: () => void;
  /** Since when the socket takes no more, or null when it does. */
  blockedSince: number | null;
  /** True when a newer snapshot came while the socket was blocked. */
  behind: boolean;
}

/**
 * Newline-delimited JSON of whole snapshots to many readers. Only the newest snapshot matters, so a slow reader has at
 * most one in its socket and gets the newest when it has taken that: memory does not grow with its slowness. A blank
 * line now and then tells a quiet reader that the stream lives.
 */
export class SnapshotStreams {
  readonly #options: SnapshotStreamsOptions;
  readonly #streams = new Set<Stream>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: SnapshotStreamsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      this.#beat();
    }, options.heartbeatMs);
    this.#timer.unref();
  }

  get size(): number {
    return this.#streams.size;
  }

  get isFull(): boolean {
    return this.#streams.size >= this.#options.streamsMax;
  }

  /** Takes over a response: sends the newest snapshot now, and each later one. */
  open(response: ServerResponse, onClose: () => void = () => undefined): void {
    const stream: Stream = { response, onClose, blockedSince: null, behind: false };
    response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
    response.on('drain', () => {
      stream.blockedSince = null;
      if (stream.behind) this.#send(stream);
    });
    response.on('close', () => {
      if (this.#streams.delete(stream)) onClose();
    });
    // A reader that resets its connection is a closed one; 'close' follows.
    response.on('error', () => undefined);
    this.#streams.add(stream);
    this.#send(stream);
  }

  /** A new snapshot is there. */
  push(): void {
    for (const stream of this.#streams) this.#send(stream);
  }

  /** Ends all streams, so that the server can close. */
  close(): void {
    clearInterval(this.#timer);
    for (const stream of this.#streams) stream.response.end();
  }

  #send(stream: Stream): void {
    if (stream.blockedSince !== null) {
      stream.behind = true;
      return;
    }
    stream.behind = false;
    this.#write(stream, `${this.#options.latest()}\n`);
  }

  #beat(): void {
    for (const stream of this.#streams) {
      if (stream.blockedSince === null) this.#write(stream, '\n');
      else if (performance.now() - stream.blockedSince > this.#options.stuckMs) stream.response.destroy();
    }
  }

  #write(stream: Stream, text: string): void {
    if (!stream.response.write(text)) stream.blockedSince = performance.now();
  }
}
