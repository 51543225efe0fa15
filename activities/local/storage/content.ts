import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/**
 * Model content on disk. A content folder is complete or absent: it is made under `.partial`, hashed, and renamed.
 *
 * ```
 * models/<digest of source and content>/manifest.json   names, sizes and SHA-256 of all files
 * models/<digest of source and content>/files/…         what servers see
 * models/.partial/<digest of source>/…                  a fetch under way; kept where it can be resumed
 * models/.sources/<digest of source>.json               which content a source gave last
 * ```
 * The content is part of the name, so a source that changed gets a new folder and a running service never sees it.
 */
export interface ContentFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

export interface Manifest {
  readonly version: 1;
  readonly uri: string;
  /** SHA-256 over the names and digests of all files. */
  readonly digest: string;
  readonly bytes: number;
  readonly files: readonly ContentFile[];
}

export interface Content extends Manifest {
  readonly folder: string;
  /** Where the files are. */
  readonly dir: string;
}

export interface SourceRecord {
  readonly folder: string;
  /** What the source said of its own version: an ETag, a commit, a listing. Null when it said nothing. */
  readonly validator: string | null;
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export class ContentStore {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  /** Where a source's fetch may write; the same folder each time, so that a fetch can be resumed. */
  async staging(uri: string): Promise<string> {
    const folder = join(this.root, '.partial', sha256(uri));
    await mkdir(join(folder, 'files'), { recursive: true, mode: 0o700 });
    return folder;
  }

  async discard(uri: string): Promise<void> {
    await rm(join(this.root, '.partial', sha256(uri)), { recursive: true, force: true });
  }

  /** Forgets finished files of a fetch under way, but not those that are half loaded. */
  async discardFiles(uri: string): Promise<void> {
    await rm(join(this.root, '.partial', sha256(uri), 'files'), { recursive: true, force: true });
  }

  /** Hashes what was fetched and makes it content, at once and whole. */
  async commit(uri: string, validator: string | null): Promise<Content> {
    const staging = await this.staging(uri);
    const files = await hashTree(join(staging, 'files'));
    const manifest = describe(uri, files);
    const folder = join(this.root, sha256(`${uri}\n${manifest.digest}`));
    const present = await this.open(folder);
    if (!present) {
      await writeFile(join(staging, 'manifest.json'), JSON.stringify(manifest));
      for (const name of await readdir(staging)) {
        if (name !== 'files' && name !== 'manifest.json') await rm(join(staging, name), { recursive: true });
      }
      await rm(folder, { recursive: true, force: true });
      await rename(staging, folder);
    } else await this.discard(uri);
    await this.#remember(uri, { folder, validator });
    return present ?? { ...manifest, folder, dir: join(folder, 'files') };
  }

  /** What the source gave last, if it is still whole. A file that was changed or cut is never used again. */
  async last(uri: string): Promise<{ readonly content: Content; readonly validator: string | null } | null> {
    const record = await readJson<SourceRecord>(this.#sourcePath(uri));
    const content = record && (await this.open(record.folder));
    return record && content ? { content, validator: record.validator } : null;
  }

  /** Content that is verified: by size and time where these are as they were, else by hash. */
  async open(folder: string): Promise<Content | null> {
    const manifest = await readJson<Manifest>(join(folder, 'manifest.json'));
    if (!manifest) return null;
    const dir = join(folder, 'files');
    if (await isWhole(dir, manifest)) {
      await markUsed(folder);
      return { ...manifest, folder, dir };
    }
    await rm(folder, { recursive: true, force: true });
    return null;
  }

  /**
   * Removes what killed runs left and cannot be resumed, and what no wanted revision has used for a week, so that
   * models which were replaced do not fill the disk. Call before anything is fetched.
   */
  async clean(nowMs: number, modelDirsInUse: readonly string[]): Promise<void> {
    await this.#cleanPartial(nowMs);
    const inUse = new Set(modelDirsInUse.map((dir) => dirname(dir)));
    for (const name of await readdir(this.root).catch(() => [] as string[])) {
      const folder = join(this.root, name);
      if (name.startsWith('.') || inUse.has(folder)) continue;
      const used = await stat(join(folder, 'manifest.json')).catch(() => null);
      if (!used || nowMs - used.mtimeMs > unusedMs) await rm(folder, { recursive: true, force: true });
    }
  }

  async #cleanPartial(nowMs: number): Promise<void> {
    const partial = join(this.root, '.partial');
    for (const name of await readdir(partial).catch(() => [] as string[])) {
      const folder = join(partial, name);
      const parts = await readdir(join(folder, 'parts')).catch(() => [] as string[]);
      const { mtimeMs } = await stat(folder);
      if (parts.length === 0 || nowMs - mtimeMs > resumableMs)
        await rm(folder, { recursive: true, force: true });
    }
  }

  async #remember(uri: string, record: SourceRecord): Promise<void> {
    const path = this.#sourcePath(uri);
    await mkdir(join(this.root, '.sources'), { recursive: true, mode: 0o700 });
    await writeFile(`${path}.tmp`, JSON.stringify(record));
    await rename(`${path}.tmp`, path);
  }

  #sourcePath(uri: string): string {
    return join(this.root, '.sources', `${sha256(uri)}.json`);
  }
}

const resumableMs = 7 * 24 * 3_600_000;
const unusedMs = 7 * 24 * 3_600_000;

/** The manifest's time is when its content was last asked for. */
export async function markUsed(folder: string): Promise<void> {
  const now = new Date();
  await utimes(join(folder, 'manifest.json'), now, now).catch(() => undefined);
}

function describe(uri: string, files: readonly ContentFile[]): Manifest {
  return {
    version: 1,
    uri,
    digest: sha256(files.map((file) => `${file.path}\n${file.sha256}\n`).join('')),
    bytes: files.reduce((sum, file) => sum + file.sizeBytes, 0),
    files,
  };
}

async function isWhole(dir: string, manifest: Manifest): Promise<boolean> {
  const paths = await listFiles(dir).catch(() => null);
  if (paths?.length !== manifest.files.length) return false;
  for (const file of manifest.files) {
    const info = await lstat(join(dir, file.path)).catch(() => null);
    if (!info?.isFile() || info.size !== file.sizeBytes) return false;
    if (info.mtimeMs !== file.mtimeMs && (await hashFile(join(dir, file.path))) !== file.sha256) return false;
  }
  return true;
}

async function hashTree(dir: string): Promise<readonly ContentFile[]> {
  const files: ContentFile[] = [];
  for (const path of await listFiles(dir)) {
    const { size, mtimeMs } = await stat(join(dir, path));
    files.push({ path, sizeBytes: size, mtimeMs, sha256: await hashFile(join(dir, path)) });
  }
  return files;
}

/** Relative paths of all files below, sorted. */
export async function listFiles(dir: string): Promise<readonly string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .sort();
}

export async function hashFile(path: string, algorithm = 'sha256', head = ''): Promise<string> {
  const hash = createHash(algorithm);
  hash.update(head);
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash);
  return hash.digest('hex');
}

async function readJson<T>(path: string): Promise<T | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch {
    return null;
  }
}
