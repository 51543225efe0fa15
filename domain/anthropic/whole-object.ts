/** Whether text that comes in pieces makes up a whole JSON object. It looks at brackets and strings alone. */
export class WholeObject {
  /** What may follow is no part of it. */
  isWhole = false;
  private depth = 0;
  private isString = false;
  private isEscaped = false;

  push(text: string): void {
    for (const char of text) {
      if (this.isWhole) return;
      if (this.isString) this.inString(char);
      else if (char === '"') this.isString = true;
      else if (char === '{' || char === '[') this.depth += 1;
      else if (char === '}' || char === ']') {
        this.depth -= 1;
        this.isWhole = this.depth <= 0;
      }
    }
  }

  private inString(char: string): void {
    if (this.isEscaped) this.isEscaped = false;
    else if (char === '\\') this.isEscaped = true;
    else if (char === '"') this.isString = false;
  }
}
