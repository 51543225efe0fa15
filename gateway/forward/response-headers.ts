import type { Passage } from '../passage.ts';

/** Sets a header of the answer to come; a later word takes the place of an earlier one. */
export function setHeader(passage: Passage, name: string, value: string): void {
  const { responseHeaders } = passage;
  const at = responseHeaders?.indexOf(name) ?? -1;
  if (responseHeaders === null || at < 0) passage.addHeader(name, value);
  else responseHeaders[at + 1] = value;
}

/** How often servers were asked, where that was more than once. */
export function sayAttempts(passage: Passage): void {
  if (passage.tries > 1) setHeader(passage, 'x-muster-attempts', String(passage.tries));
}
