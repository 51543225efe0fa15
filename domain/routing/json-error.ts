/**
 * Where a text stops being JSON. V8 names the position for some errors and not for others, and its texts quote
 * the document; this names the character's offset, line and column for all. Only run on text that JSON.parse
 * refused, so speed does not matter, but depth does: it walks with a stack of its own, not the machine's.
 */
export interface JsonError {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

export function locateJsonError(text: string): JsonError {
  const offset = errorOffset(text);
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { offset, line: before.split('\n').length, column: offset - lineStart + 1 };
}

/** For messages: `at position 12 (line 1, column 13)`, `the body is empty`, … */
export function describeJsonError(text: string): string {
  if (text.trim() === '') return 'the body is empty';
  const { offset, line, column } = locateJsonError(text);
  const what = offset >= text.length ? 'it ends too early' : 'unexpected character';
  return `${what} at position ${offset} (line ${line}, column ${column})`;
}

type Expect = 'value' | 'first-value' | 'key' | 'first-key' | 'colon' | 'after';

const token = {
  space: /[ \t\n\r]*/y,

  string: /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y,
  scalar: /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y,
};

function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
}

function errorOffset(text: string): number {
  const open: ('{' | '[')[] = [];
  let expect: Expect = 'value';
  let at = 0;
  for (;;) {
    at = match(token.space, text, at);
    const here = text[at];
    if (expect === 'after' && open.length === 0) return at;
    const step: Step | null = here === undefined ? null : advance(text, at, here, expect, open);
    if (step === null) return stringError(text, at, expect);
    ({ at, expect } = step);
  }
}

interface Step {
  readonly at: number;
  readonly expect: Expect;
}

function advance(text: string, at: number, here: string, expect: Expect, open: ('{' | '[')[]): Step | null {
  switch (expect) {
    case 'colon':
      return here === ':' ? { at: at + 1, expect: 'value' } : null;
    case 'key':
    case 'first-key': {
      if (here === '}' && expect === 'first-key') return close(at, open);
      const end = match(token.string, text, at);
      return end < 0 ? null : { at: end, expect: 'colon' };
    }
    case 'after': {
      const inside = open.at(-1);
      if (here === ',') return { at: at + 1, expect: inside === '{' ? 'key' : 'value' };
      return (here === '}' && inside === '{') || (here === ']' && inside === '[') ? close(at, open) : null;
    }
    case 'value':
    case 'first-value':
      return here === ']' && expect === 'first-value' ? close(at, open) : advanceValue(text, at, here, open);
  }
}

function advanceValue(text: string, at: number, here: string, open: ('{' | '[')[]): Step | null {
  if (here === '{' || here === '[') {
    open.push(here);
    return { at: at + 1, expect: here === '{' ? 'first-key' : 'first-value' };
  }
  const end = Math.max(match(token.string, text, at), match(token.scalar, text, at));
  return end < 0 ? null : { at: end, expect: 'after' };
}

function close(at: number, open: ('{' | '[')[]): Step {
  open.pop();
  return { at: at + 1, expect: 'after' };
}

/** Inside a string the fault is where the string breaks, not where it opens. */
function stringError(text: string, at: number, expect: Expect): number {
  if (text[at] !== '"' || expect === 'after' || expect === 'colon') return at;

  return match(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*/y, text, at);
}
