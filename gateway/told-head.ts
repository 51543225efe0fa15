import type { HeaderFields } from './header-fields.ts';

/** A response head as it is sent, or the begin of one. */
export interface WrittenHead {
  readonly status: number;
  /** Status line and fields, each with its line end; without framing, and without a date of ours. */
  readonly text: string;
  /** As the caller gave it; -1 when it did not. */
  readonly contentLength: number;
  /** The caller wants the connection closed. */
  readonly isLast: boolean;
  readonly hasDate: boolean;
}

/** The head of a server's answer on its way to clients. */
export interface ToldHead {
  /** As its server gave them, or some fewer. Many answers may share them. */
  readonly headers: HeaderFields;
  /** Flat, those that go on to clients. */
  readonly list: readonly string[];
  /** Our own front's: what the list makes, and whether that is one piece of text. */
  written: WrittenHead | null;
  isFlat: boolean;
}

/** What was made of a server's head. An endpoint mostly says the same one again and again: these share one of these. */
export class ToldHeads {
  whole: ToldHead | null = null;
  /** For events that are read on their way: their length is not known. */
  streamed: ToldHead | null = null;
}
