import { link, mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { MusterError } from '../../../domain/errors.ts';
import type { FetchedModels } from '../../../domain/node/messages.ts';
import { archiveOf, isForeignArchive } from '../../../domain/storage/archive.ts';
import { isRelativePath, parseUri } from '../../../domain/storage/uri.ts';
import type { ModelSource } from '../../../domain/workload/workload.ts';
import { displayUri } from '../../../domain/storage/display-uri.ts';
import { fromSystem } from '../failures.ts';
import { SingleFlight, type Task } from '../single-flight.ts';
import type { Progress } from '../transfers.ts';
import { unpack } from './archive.ts';
import { listFiles, markUsed, sha256, type Content, type ContentStore } from './content.ts';
import type { Fetched, FetchTask, StorageDeps, StorageLimits } from './fetcher.ts';
import { fetchFile } from './file.ts';
import { fetchHttp } from './http.ts';
import { fetchHub } from './hub.ts';
import { fetchPackage } from './package.ts';

/** Fetches models into the node's folder, each source once however many ask, and never hands out half a model. */
export class Models {
  readonly #store: ContentStore;
  readonly #deps: StorageDeps;
  readonly #limits: StorageLimits;
  readonly #logger: Logger;
  readonly #flights = new SingleFlight<Content, Progress>();

  constructor(store: ContentStore, deps: StorageDeps, limits: StorageLimits, logger: Logger) {
    this.#store = store;
    this.#deps = deps;
    this.#limits = limits;
    this.#logger = logger;
  }

  async fetch(
    models: readonly ModelSource[],
    caller: { readonly signal: AbortSignal; readonly onProgress: (progress: Progress) => void },
  ): Promise<FetchedModels> {
    const contents: { readonly path: string; readonly content: Content }[] = [];
    for (const { uri, path } of models) {
      if (path !== '' && !isRelativePath(path)) {
        throw new MusterError('invalid_manifest', `'${path}' is not a path inside the model folder.`);
      }
      const content = await this.#flights.run(uri, (task) => this.#fetch(uri, task), caller);
      contents.push({ path, content });
    }
    const [first] = contents;
    if (first && contents.length === 1 && first.path === '') {
      return { modelDir: first.content.dir, digest: first.content.digest, bytes: first.content.bytes };
    }
    return await this.#combine(contents);
  }

  async #fetch(uri: string, task: Task<Progress>): Promise<Content> {
    const source = parseUri(uri);
    const last = await this.#store.last(uri);
    // The hub's files are verified one by one, so whole ones of a cut fetch are kept; others start clean.
    if (source.kind !== 'hub') await this.#store.discardFiles(uri);
    const staging = await this.#store.staging(uri);
    const fetchTask: FetchTask = {
      uri,
      staging,
      known: last?.validator ?? null,
      signal: task.signal,
      report: task.report,
      limits: this.#limits,
    };
    try {
      const fetched = await this.#bySource(source, fetchTask);
      if (fetched.unchanged && last) {
        await this.#store.discard(uri);
        return last.content;
      }
      await this.#unpackSingle(fetchTask, fetched);
      task.report({ done: 0, total: null, message: 'verifying' });
      return await this.#store.commit(uri, fetched.unchanged ? null : fetched.validator);
    } catch (error) {
      return await this.#failed(uri, error, last?.content, task.signal);
    }
  }

  #bySource(source: ReturnType<typeof parseUri>, task: FetchTask): Promise<Fetched> {
    switch (source.kind) {
      case 'file':
        return fetchFile(source.path, this.#deps.root, task);
      case 'http':
        return fetchHttp(source, this.#deps, task);
      case 'hub':
        return fetchHub(source, this.#deps, task);
      case 'package':
        return fetchPackage(source, this.#deps, task);
    }
  }

  /** KServe's rule: exactly one file, and it is an archive, is unpacked. */
  async #unpackSingle(task: FetchTask, fetched: Fetched): Promise<void> {
    const dir = join(task.staging, 'files');
    const [file, ...others] = await listFiles(dir);
    if (file === undefined)
      throw new MusterError('storage_not_found', `${displayUri(task.uri)} gave no files.`);
    if (others.length > 0) return;
    if (isForeignArchive(file)) {
      throw new MusterError(
        'storage_not_supported',
        `${displayUri(task.uri)} is packed in a way that is not supported here: use .zip, .tar or .tar.gz.`,
      );
    }
    const kind = fetched.unchanged ? null : (fetched.archive ?? archiveOf(file));
    if (kind === null) return;
    task.report({ done: 0, total: null, message: `unpacking ${file}` });
    await unpack(join(dir, file), kind, dir, { limits: task.limits, signal: task.signal });
  }

  /** A cut connection may be resumed, so what was loaded stays; anything else leaves nothing behind. */
  async #failed(
    uri: string,
    error: unknown,
    last: Content | undefined,
    signal: AbortSignal,
  ): Promise<Content> {
    const isPassing = error instanceof MusterError && error.code === 'storage_unavailable';
    if (!isPassing && !signal.aborted) await this.#store.discard(uri);
    if (isPassing && last) {
      this.#logger.warn(
        { uri: displayUri(uri), err: error },
        'source does not answer: using what it gave last',
      );
      return last;
    }
    throw fromSystem(error) ?? error;
  }

  /** One folder for several sources, of hard links: content folders are never written to, so sharing is safe. */
  async #combine(
    contents: readonly { readonly path: string; readonly content: Content }[],
  ): Promise<FetchedModels> {
    const digest = sha256(contents.map(({ path, content }) => `${path}\n${content.digest}\n`).join(''));
    const bytes = contents.reduce((sum, { content }) => sum + content.bytes, 0);
    const name = sha256(contents.map(({ path, content }) => `${path}\n${content.folder}\n`).join(''));
    const folder = join(this.#store.root, `combined-${name}`);
    const files = contents.flatMap(({ path, content }) =>
      content.files.map((file) => ({ from: join(content.dir, file.path), to: join(path, file.path) })),
    );
    if (new Set(files.map((file) => file.to)).size !== files.length) {
      throw new MusterError(
        'invalid_manifest',
        'Two models would put a file in the same place of the model folder.',
      );
    }
    if (await isCombined(folder, files)) await markUsed(folder);
    else {
      await rm(folder, { recursive: true, force: true });
      const partial = join(this.#store.root, '.partial', `combined-${name}-${crypto.randomUUID()}`);
      for (const { from, to } of files) {
        await mkdir(dirname(join(partial, 'files', to)), { recursive: true });
        await link(from, join(partial, 'files', to));
      }
      await mkdir(join(partial, 'files'), { recursive: true });
      await writeFile(join(partial, 'manifest.json'), JSON.stringify({ version: 1, digest, bytes }));
      await rename(partial, folder).catch(async (error: unknown) => {
        // Another call was faster: its folder holds the same files.
        await rm(partial, { recursive: true, force: true });
        if (!(await readdir(folder).catch(() => null))) throw error;
      });
    }
    return { modelDir: join(folder, 'files'), digest, bytes };
  }
}

/** True when the folder holds links to exactly these files: the very ones, which were verified just now. */
async function isCombined(
  folder: string,
  files: readonly { readonly from: string; readonly to: string }[],
): Promise<boolean> {
  const present = await listFiles(join(folder, 'files')).catch(() => null);
  if (present?.length !== files.length) return false;
  for (const { from, to } of files) {
    const [a, b] = await Promise.all([stat(from), stat(join(folder, 'files', to)).catch(() => null)]);
    if (a.ino !== b?.ino) return false;
  }
  return true;
}
