/** A whole stream of server-sent events, taken apart (WHATWG HTML, section 9.2): the data of each event, in order. */
export function eventData(text: string): string[] {
  const found: string[] = [];
  let data: string[] = [];
  const lines = text.split(/\r\n|\r|\n/);
  lines.pop(); // what follows the last line's end is no line
  for (const line of lines) {
    if (line === '') {
      if (data.length > 0) found.push(data.join('\n'));
      data = [];
    } else if (line.startsWith('data:')) data.push(line.slice(line.charCodeAt(5) === 0x20 ? 6 : 5));
  }
  return found; // an event without the blank line at its end is not one
}

/** The same stream without the events of which `drops` says true, every other byte as it was. */
export function withoutEvents(text: string, drops: (data: string) => boolean): string {
  const blocks = text.split(/(?<=\r\n\r\n|\n\n|\r\r)/);
  return blocks.filter((block) => !eventData(block).some(drops)).join('');
}

export const endOfStream = '[DONE]';
