import type { Writable } from 'node:stream';
import pc from 'picocolors';
import type { ProcessState, UpState } from '../../up/state.ts';
import type { SampleState } from './samples.ts';

/** All that the display shows while the stack comes up. */
export interface Picture {
  readonly state: UpState | null;
  readonly samples: readonly SampleState[];
  readonly notices: readonly string[];
}

export interface Display {
  show(picture: Picture): void;
  /** Draws the last picture for good; what follows is printed below it. */
  end(): void;
}

export type Terminal = Writable & { readonly isTTY?: boolean; readonly columns?: number };

const REDRAW_MS = 100;

/** One block that is redrawn where the terminal can, else a plain line for each change. */
export function createDisplay(terminal: Terminal): Display {
  return terminal.isTTY === true ? createBlock(terminal) : createLines(terminal);
}

/** Name and text of each line, in the order in which they are shown. */
export function linesOf({ state, samples, notices }: Picture): readonly (readonly [string, string])[] {
  return [
    ...(state?.processes ?? []).map((p) => [p.name, processText(p)] as const),
    ...samples.map((s) => [s.name, s.text] as const),
    ...notices.map((notice) => ['note', notice] as const),
  ];
}

function processText({ phase, message }: ProcessState): string {
  return message === '' || phase === 'running' ? phase : `${phase}, ${message}`;
}

function createLines(terminal: Terminal): Display {
  const shown = new Set<string>();
  const last = new Map<string, string>();
  return {
    show(picture) {
      for (const [name, text] of linesOf(picture)) {
        if (name === 'note' ? shown.has(text) : last.get(name) === text) continue;
        shown.add(text);
        last.set(name, text);
        terminal.write(`${name}: ${text}\n`);
      }
    },
    end: () => undefined,
  };
}

function createBlock(terminal: Terminal): Display {
  let drawn = 0;
  let latest: Picture | undefined;
  let timer: NodeJS.Timeout | undefined;
  const draw = () => {
    timer = undefined;
    if (latest === undefined) return;
    const lines = linesOf(latest).map(([name, text]) => blockLine(name, text, widthOf(terminal)));
    const up = drawn > 0 ? `\u001b[${drawn}A` : '';
    terminal.write(`${up}\u001b[J${lines.map((line) => `${line}\n`).join('')}`);
    drawn = lines.length;
  };
  return {
    show(picture) {
      latest = picture;
      timer ??= setTimeout(draw, REDRAW_MS);
    },
    end() {
      clearTimeout(timer);
      draw();
      drawn = 0;
      latest = undefined;
    },
  };
}

/** Some terminals say that they have no columns at all. */
function widthOf({ columns = 0 }: Terminal): number {
  return columns > 0 ? columns : 80;
}

function blockLine(name: string, text: string, columns: number): string {
  // A line that wraps would break the count of lines that are drawn over.
  const plain = `  ${name.padEnd(12)} ${text.replaceAll('\n', ' ')}`.slice(0, columns - 1);
  if (/(running|Ready)$/.test(text)) return plain.replace(/(running|Ready)$/, (word) => pc.green(word));
  return plain;
}
