import { constants } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import { Timed } from '../timer-wheel.ts';
import type { TimerWheel } from '../timer-wheel.ts';

export interface DepartureOptions {
  readonly wheel: TimerWheel;
  /** Time for a client to take what was written to it. */
  readonly takeMs: number;
  readonly onStall: () => void;
}

/**
 * What a call has written and its client has not taken: HTTP/2 lets a client take nothing for as long as it likes, on
 * a connection that is alive. Node tells of a stream only when all of a message is gone (what it knows of progress is
 * that of the whole connection), so the time is for a whole message. A client that does not even read its socket is
 * left to the keepalive of the connection, which ends it sooner.
 */
export class Departure extends Timed {
  private readonly stream: ServerHttp2Stream;
  private readonly options: DepartureOptions;

  constructor(stream: ServerHttp2Stream, options: DepartureOptions) {
    super();
    this.stream = stream;
    this.options = options;
    stream.once('close', () => {
      options.wheel.remove(this);
    });
  }

  beforeWrite(): void {
    const { stream, options } = this;
    if (stream.writableLength === 0 && !stream.destroyed) options.wheel.arm(this, options.takeMs);
  }

  onTimeout(): void {
    const { stream } = this;
    if (stream.writableLength === 0) return;
    this.options.onStall();
    stream.close(constants.NGHTTP2_CANCEL);
    stream.destroy();
  }
}
