/**
 * Where the parts of a JSON text lie, so that requests are joined and answers are split without reading a number: the
 * texts of elements move as they are. The text must be one that JSON.parse takes; the scan relies on it.
 */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** @returns fields of the object at `at`, by name; null when it is no object, or names a field twice */
export function fieldsOf(text: string, at = 0): Map<string, Range> | null {
  const fields = new Map<string, Range>();
  let next = skipBlanks(text, at);
  if (text[next] !== '{') return null;
  next = skipBlanks(text, next + 1);
  while (text[next] === '"') {
    const keyEnd = stringEnd(text, next);
    const name = JSON.parse(text.slice(next, keyEnd)) as string;
    const from = skipBlanks(text, skipBlanks(text, keyEnd) + 1); // after the colon
    const to = valueEnd(text, from);
    if (fields.has(name)) return null;
    fields.set(name, { from, to });
    next = skipBlanks(text, to);
    if (text[next] !== ',') break;
    next = skipBlanks(text, next + 1);
  }
  return fields;
}

/** @returns elements of the list at `at`; null when it is no list */
export function itemsOf(text: string, at: number): Range[] | null {
  if (text[at] !== '[') return null;
  const items: Range[] = [];
  let next = skipBlanks(text, at + 1);
  while (text[next] !== ']') {
    const to = valueEnd(text, next);
    items.push({ from: next, to });
    next = skipBlanks(text, to);
    if (text[next] === ',') next = skipBlanks(text, next + 1);
  }
  return items;
}

/** Texts of what is no list in a list of lists, in order; null when there is an object in it. */
export function leavesOf(text: string, { from, to }: Range): string[] | null {
  const leaves: string[] = [];
  let at = from;
  while (at < to) {
    const character = text[at] ?? '';
    if (character === '[' || character === ']' || character === ',' || isBlank(character)) at += 1;
    else if (character === '{') return null;
    else {
      const end = valueEnd(text, at);
      leaves.push(text.slice(at, end));
      at = end;
    }
  }
  return leaves;
}

function valueEnd(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return stringEnd(text, from);
  let at = from;
  if (first !== '{' && first !== '[') {
    while (at < text.length && !isDelimiter(text[at] ?? '')) at += 1;
    return at;
  }
  for (let depth = 0; at < text.length;) {
    const character = text[at];
    if (character === '"') {
      at = stringEnd(text, at);
      continue;
    }
    at += 1;
    if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return at;
}

function stringEnd(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (isBlank(text[at] ?? '')) at += 1;
  return at;
}

function isBlank(character: string): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t';
}

function isDelimiter(character: string): boolean {
  return character === ',' || character === ']' || character === '}' || isBlank(character);
}
