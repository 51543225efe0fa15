/**
 * Whether a piece of an OpenAI stream ends as a chunk of text does with vLLM and all who write their chunks in its
 * order: `…,"finish_reason":null}]}` and the blank line. Its choice goes on, and behind the choices nothing is told. That
 * is most of the pieces there are, known by some bytes: nobody need look through them for a reason or a usage. (A line
 * end cannot stand in a JSON string, so these bytes are never text.)
 *
 * A usage that such a chunk told before its choices would be passed over: it is not the last one, since the choice goes on.
 */
export function endsInOpenChoice(piece: Uint8Array): boolean {
  const from = piece.length - ending.length;
  for (let at = ending.length - 1; at >= 0; at -= 1) if (piece[from + at] !== ending[at]) return false;
  return true;
}

const ending = new TextEncoder().encode('"finish_reason":null}]}\n\n');
