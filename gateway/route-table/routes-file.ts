import { readFile, stat } from 'node:fs/promises';
import type { Logger } from 'pino';
import { parse as parseYaml } from 'yaml';
import { RoutesFile } from '../../domain/route-table/routes-file.schema.ts';
import { tableFromFile } from '../../domain/route-table/routes-file.ts';
import type { RouteTable } from '../../domain/route-table/route-table.schema.ts';
import { compileRoutes } from '../../domain/routing/routes.ts';
import type { TableSource } from './table-source.ts';

/**
 * A route table in a file, JSON or YAML, for a gateway without a control API. A changed file is in effect within a
 * second; one that is wrong in any place is refused whole and the last good one stays. The file is looked at again
 * and again and not watched by the kernel's means: those miss files that are mounted, moved into place or linked.
 */
export interface RoutesFileOptions {
  readonly path: string;
  readonly logger: Logger;
  /** A table that passed every check. */
  readonly onTable: (table: RouteTable) => void;
  /** A changed file that cannot be used; `why` is a sentence for people. */
  readonly onRefused: (why: string) => void;
  /** Between two looks; a change that was seen is looked at again in half the time. */
  readonly pollMs?: number;
}

/** Its message is one sentence that names the file, the field and what is wrong. */
export class RoutesFileError extends Error {}

const pollMs = 500;
const bytesMax = 64 * 1024 * 1024;
/** A file may change twice within the grain of its time stamp: a young one is read again. */
const youngMs = 2_000;

export class RoutesFileSource implements TableSource {
  private readonly options: RoutesFileOptions;
  private isStopping = false;
  private wake: () => void = () => undefined;
  private running: Promise<void> | null = null;
  private seen = '';
  private text = '';
  /** What the last look found and the next one has to find again. */
  private awaited: { readonly stamp: string; readonly text: string } | null = null;

  constructor(options: RoutesFileOptions) {
    this.options = options;
  }

  /** @throws RoutesFileError */
  async first(): Promise<void> {
    await this.lookOnce(true);
  }

  follow(): void {
    this.running ??= this.run();
  }

  async stop(): Promise<void> {
    this.isStopping = true;
    this.wake();
    await this.running;
  }

  /**
   * One look at the file, as `follow` has them again and again.
   *
   * @throws RoutesFileError for a changed file that cannot be used
   */
  async look(): Promise<void> {
    await this.lookOnce(false);
  }

  private async run(): Promise<void> {
    let refused = '';
    for (;;) {
      await this.pause(this.options.pollMs ?? pollMs);
      if (this.isStopping) return;
      try {
        await this.look();
        refused = '';
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        // A file that is gone is said once, not twice a second.
        if (why !== refused) this.options.onRefused(why);
        refused = why;
      }
    }
  }

  /** Ends sooner when the source is stopped. */
  private pause(ms: number): Promise<void> {
    if (this.isStopping) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.awaited === null ? ms : ms / 2);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private async lookOnce(isFirst: boolean): Promise<void> {
    const { path } = this.options;
    const { size, mtimeMs, ctimeMs, ino } = await stat(path).catch((error: unknown) =>
      unreadable(path, error),
    );
    const stamp = `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
    const isYoung = Math.abs(Date.now() - Math.max(mtimeMs, ctimeMs)) < youngMs;
    if (!isFirst && stamp === this.seen && !isYoung && this.awaited === null) return;
    if (size > bytesMax)
      throw new RoutesFileError(`The routes file ${path} is larger than ${bytesMax} bytes.`);
    const text = await readFile(path, 'utf8').catch((error: unknown) => unreadable(path, error));
    this.seen = stamp;
    const { awaited } = this;
    this.awaited = null;
    if (!isFirst && text === this.text) return;
    if (!isFirst && (awaited?.stamp !== stamp || awaited.text !== text)) {
      this.awaited = { stamp, text };
      return;
    }
    this.text = text;
    this.options.onTable(readRoutes(path, text, Math.floor(mtimeMs)));
    if (!isFirst) this.options.logger.info({ path }, 'the routes file changed and is in effect');
  }
}

/**
 * @param path its ending says what it is: .json, else YAML
 * @param version of the table where the file gives none
 * @throws RoutesFileError
 */
export function readRoutes(path: string, text: string, version: number): RouteTable {
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parseYaml(text);
  } catch (error) {
    const [what = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    throw new RoutesFileError(
      `The routes file ${path} is not ${path.endsWith('.json') ? 'JSON' : 'YAML'}: ${what.replace(/:$/, '')}.`,
    );
  }
  const parsed = RoutesFile.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const at = issue?.path.join('.') ?? '';
    throw new RoutesFileError(
      `The routes file ${path} is wrong at ${at === '' ? 'its top' : at}: ${issue?.message ?? 'wrong shape'}.`,
    );
  }
  const table = tableFromFile(parsed.data, version);
  try {
    compileRoutes(table, () => ({ inFlight: 0, skipUntilMs: 0, inFlightMax: Infinity }));
  } catch (error) {
    throw new RoutesFileError(
      `The routes file ${path} is wrong at services: ${error instanceof Error ? error.message : String(error)}.`,
    );
  }
  return table;
}

function unreadable(path: string, error: unknown): never {
  const { code = String(error) } = error as { code?: string };
  const what = code === 'ENOENT' ? 'there is no such file' : code;
  throw new RoutesFileError(`The routes file ${path} cannot be read: ${what}.`);
}
