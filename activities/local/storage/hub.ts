import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { request } from 'undici';
import { MusterError } from '../../../domain/errors.ts';
import { isRelativePath, type Source } from '../../../domain/storage/uri.ts';
import { hashFile, listFiles } from './content.ts';
import { download } from './download.ts';
import type { Fetched, FetchTask, StorageDeps } from './fetcher.ts';

/**
 * hf://repo/model[:revision] by the hub's HTTP API: the revision is resolved to a commit, the commit's tree is
 * listed, and every file is verified, LFS files by their SHA-256 and others by their git object id.
 */
interface TreeFile {
  readonly path: string;
  readonly size: number;
  readonly hash: { readonly algorithm: 'sha256' | 'sha1'; readonly hex: string };
}

const limits = { parallel: 4, pages: 200, bodyBytes: 64 * 1024 * 1024, timeoutMs: 30_000 } as const;

export async function fetchHub(
  source: Extract<Source, { kind: 'hub' }>,
  deps: Pick<StorageDeps, 'dispatcher' | 'hubEndpoint' | 'hubToken'>,
  task: FetchTask,
): Promise<Fetched> {
  const hub = new Hub(deps, task);
  const commit = await hub.commit(source.repo, source.revision);
  if (commit === task.known) return { unchanged: true };
  const files = await hub.tree(source.repo, commit);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > task.limits.maxBytes) {
    throw new MusterError('storage_forbidden', `${task.uri} is larger than ${task.limits.maxBytes} bytes.`);
  }
  await removeOthers(join(task.staging, 'files'), files);
  const progress = new Map<string, number>();
  const queue = [...files];
  const work = async (): Promise<void> => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const { path } = file;
      await hub.file(source.repo, commit, file, (bytes) => {
        progress.set(path, bytes);
        const done = [...progress.values()].reduce((sum, n) => sum + n, 0);
        task.report({ done, total, message: `downloading ${path}` });
      });
    }
  };
  await Promise.all(Array.from({ length: limits.parallel }, work));
  return { unchanged: false, validator: commit };
}

class Hub {
  readonly #deps: Pick<StorageDeps, 'dispatcher' | 'hubEndpoint' | 'hubToken'>;
  readonly #task: FetchTask;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(deps: Pick<StorageDeps, 'dispatcher' | 'hubEndpoint' | 'hubToken'>, task: FetchTask) {
    this.#deps = deps;
    this.#task = task;
    this.#headers = deps.hubToken === undefined ? {} : { authorization: `Bearer ${deps.hubToken}` };
  }

  async commit(repo: string, revision: string): Promise<string> {
    const { body } = await this.#json(`/api/models/${repo}/revision/${encodeURIComponent(revision)}`);
    const sha = (body as { sha?: unknown } | null)?.sha;
    if (typeof sha !== 'string' || !/^[0-9a-f]{40,64}$/.test(sha)) throw this.#odd('no commit');
    return sha;
  }

  /** All files of the commit. The listing comes in pages, named by the Link header. */
  async tree(repo: string, commit: string): Promise<readonly TreeFile[]> {
    const files: TreeFile[] = [];
    let path: string | null = `/api/models/${repo}/tree/${commit}?recursive=true&limit=1000`;
    for (let page = 0; path !== null && page < limits.pages; page++) {
      const { body, next }: { body: unknown; next: string | null } = await this.#json(path);
      if (!Array.isArray(body)) throw this.#odd('no listing');
      files.push(...body.flatMap((entry: unknown) => this.#treeFile(entry)));
      path = next;
    }
    if (files.length > this.#task.limits.maxFiles) throw this.#odd('too many files');
    return files;
  }

  async file(repo: string, commit: string, file: TreeFile, onBytes: (done: number) => void): Promise<void> {
    const target = join(this.#task.staging, 'files', file.path);
    if (await isFile(target, file)) {
      onBytes(file.size);
      return;
    }
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    await download({
      url: `${this.#deps.hubEndpoint}/${repo}/resolve/${commit}/${path}`,
      target,
      staging: this.#task.staging,
      dispatcher: this.#deps.dispatcher,
      headers: this.#headers,
      signal: this.#task.signal,
      limits: this.#task.limits,
      onBytes,
    });
    if (await isFile(target, file)) return;
    await rm(target, { force: true });
    throw new MusterError(
      'checksum_mismatch',
      `${file.path} of ${this.#task.uri} does not have the digest that the hub states: it was changed on its way.`,
    );
  }

  #treeFile(entry: unknown): TreeFile[] {
    const { type, path, size, oid, lfs } = entry as {
      type?: unknown;
      path?: unknown;
      size?: unknown;
      oid?: unknown;
      lfs?: { oid?: unknown; size?: unknown };
    };
    if (type !== 'file') return [];
    if (typeof path !== 'string' || !isRelativePath(path))
      throw this.#odd('a path that leaves the model folder');
    const hex = lfs?.oid ?? oid;
    const bytes = lfs?.size ?? size;
    if (typeof hex !== 'string' || typeof bytes !== 'number') throw this.#odd('a file without a digest');
    return [{ path, size: bytes, hash: { algorithm: lfs ? 'sha256' : 'sha1', hex } }];
  }

  async #json(path: string): Promise<{ readonly body: unknown; readonly next: string | null }> {
    const { signal } = this.#task;
    const response = await request(`${this.#deps.hubEndpoint}${path}`, {
      dispatcher: this.#deps.dispatcher,
      headers: this.#headers,
      signal: AbortSignal.any([signal, AbortSignal.timeout(limits.timeoutMs)]),
    }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new MusterError('storage_unavailable', `The hub ${this.#deps.hubEndpoint} does not answer.`, {
        cause: error,
      });
    });
    if (response.statusCode !== 200) {
      await response.body.dump();
      throw this.#refused(response.statusCode);
    }
    try {
      const body: unknown = await response.body.json();
      return { body, next: this.#nextPage(response.headers['link']) };
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof MusterError ? error : this.#odd('something that is not JSON');
    }
  }

  #refused(status: number): MusterError {
    const { uri } = this.#task;
    if (status === 401 || status === 403) {
      const hint =
        this.#deps.hubToken === undefined ? ' Set HF_TOKEN for the node agent if it is private.' : '';
      return new MusterError('storage_forbidden', `The hub does not give ${uri} (${status}).${hint}`);
    }
    if (status === 404) return new MusterError('storage_not_found', `The hub has no ${uri}.`);
    return new MusterError('storage_unavailable', `The hub answered ${status} for ${uri}.`);
  }

  /** Only pages of the hub itself are followed: the token goes with the request. */
  #nextPage(link: string | string[] | undefined): string | null {
    const url = /<([^>]+)>\s*;\s*rel="next"/.exec(String(link ?? ''))?.[1];
    if (url === undefined) return null;
    const endpoint = new URL(this.#deps.hubEndpoint);
    const next = new URL(url, endpoint);
    if (next.origin !== endpoint.origin) throw this.#odd('a page of another origin');
    return next.pathname.slice(endpoint.pathname.replace(/\/$/, '').length) + next.search;
  }

  #odd(what: string): MusterError {
    return new MusterError('storage_unavailable', `The hub answered ${what} for ${this.#task.uri}.`);
  }
}

/** True when the file is there, whole and genuine. Git's object id covers a head with the length. */
async function isFile(path: string, file: TreeFile): Promise<boolean> {
  const info = await stat(path).catch(() => null);
  if (info?.size !== file.size) return false;
  const { algorithm, hex } = file.hash;
  return (await hashFile(path, algorithm, algorithm === 'sha1' ? `blob ${file.size}\0` : '')) === hex;
}

/** What an earlier fetch of another commit left does not belong to this one. */
async function removeOthers(dir: string, files: readonly TreeFile[]): Promise<void> {
  const wanted = new Set(files.map((file) => file.path));
  for (const path of await listFiles(dir)) {
    if (!wanted.has(path)) await rm(join(dir, path), { force: true });
  }
}
