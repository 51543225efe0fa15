/** Header lists as node takes them: name, value, name, value. Names are compared without case. */

/** @param name in lower case @returns the first value; undefined: there is none */
export function valueOf(headers: readonly string[], name: string): string | undefined {
  for (let at = 0; at + 1 < headers.length; at += 2)
    if (headers[at]?.toLowerCase() === name) return headers[at + 1];
  return undefined;
}

/** @param names in lower case */
export function without(headers: readonly string[], names: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    if (!names.includes(name.toLowerCase())) out.push(name, headers[at + 1] ?? '');
  }
  return out;
}

/** Whether the headers are those of a stream of server-sent events. */
export function isEventStream(headers: readonly string[]): boolean {
  return valueOf(headers, 'content-type')?.startsWith('text/event-stream') === true;
}
