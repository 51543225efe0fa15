import { crc32 } from 'node:zlib';

/**
 * Lines of files that outlive a crash: `checksum text\n`. Half a line, or one that somebody changed, is told apart from
 * a whole one.
 */
export function checkedLine(text: string): string {
  return `${checksum(text)} ${text}\n`;
}

/** @param line without its line feed @returns its text; null when it is damaged */
export function readCheckedLine(line: string): string | null {
  const text = line.slice(9);
  return line[8] === ' ' && checksum(text) === line.slice(0, 8) ? text : null;
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, '0');
}
