import { endsEvent, endsWithDone } from '../../domain/sse/whole-events.ts';
import { BufferNeedle } from './buffer-needle.ts';

/**
 * Events of a stream, without its last word, to estimate its tokens by. A piece that is hardly longer than one event
 * was is taken for one, and not looked through. That is exact while no event is longer than another by more than a third;
 * else some that come together may count as one, but none ever counts twice.
 */
export class EventCount {
  count = 0;
  /** Bytes of the shortest event that came alone. */
  private shortest = 0;

  /** @param piece begins with an event, or goes on within one */
  add(piece: Uint8Array): void {
    const { length } = piece;
    const isWhole = endsEvent(piece) && begins(piece) && !endsWithDone(piece);
    const events = isWhole && length < 1.5 * this.shortest ? 1 : eventsOf(piece);
    this.count += events;
    if (isWhole && events === 1 && (length < this.shortest || this.shortest === 0)) this.shortest = length;
  }
}

const data = new BufferNeedle('data:');

function begins(piece: Uint8Array): boolean {
  return (
    piece[0] === 0x64 && piece[1] === 0x61 && piece[2] === 0x74 && piece[3] === 0x61 && piece[4] === 0x3a
  );
}

/** Each `data:` is one. */
function eventsOf(bytes: Uint8Array): number {
  let count = 0;
  for (let at = data.indexIn(bytes); at >= 0; at = data.indexIn(bytes, at + data.length)) count += 1;
  return count > 0 && endsWithDone(bytes) ? count - 1 : count;
}
