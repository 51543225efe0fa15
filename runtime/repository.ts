import { basename, join } from 'node:path';
import { MusterError } from '../domain/errors.ts';
import { modelNotFound, modelNotReady } from '../domain/inference-protocol/errors.ts';
import type { ModelFiles } from './model-folder.ts';
import { findModel, listModels } from './model-folder.ts';
import { Session } from './session/session.ts';

export interface RepositoryOptions {
  readonly folder: string;
  /** Name of the model when the folder is one. */
  readonly modelName: string;
  readonly threads: number;
  readonly maxModels: number;
  /** A loaded model's thread ended by itself. */
  readonly onLost: (model: string, why: string) => void;
}

export interface IndexEntry {
  readonly name: string;
  readonly state: 'READY' | 'LOADING' | 'UNAVAILABLE';
  readonly reason: string;
}

interface Entry {
  state: IndexEntry['state'];
  reason: string;
  session: Session | undefined;
}

/** The models of this process: what is on disk, what of it is loaded, and why the rest is not. */
export class ModelRepository {
  readonly #options: RepositoryOptions;
  readonly #entries = new Map<string, Entry>();
  /** Loads that are under way, a model each: a second one joins the first. */
  readonly #loading = new Map<string, Promise<void>>();

  constructor(options: RepositoryOptions) {
    this.#options = options;
  }

  /**
   * Loads all that the folder holds.
   * @throws MusterError `model_load_failed` when no model at all could be loaded
   */
  async loadAll(): Promise<void> {
    const { folder, modelName, maxModels } = this.#options;
    const single = await findModel(modelName, folder);
    const names = single === undefined ? await listModels(folder) : [modelName];
    if (names.length === 0)
      throw new MusterError(
        'model_load_failed',
        `${folder} holds no .onnx file, and none of its sub-folders does.`,
      );
    if (names.length > maxModels)
      throw new MusterError(
        'model_load_failed',
        `${folder} holds ${names.length} models; --max_models is ${maxModels}.`,
      );
    const failures: string[] = [];
    for (const name of names) {
      await this.load(name).catch((error: unknown) =>
        failures.push(`cannot load model '${name}': ${(error as Error).message}`),
      );
    }
    if (failures.length === names.length) throw new MusterError('model_load_failed', failures.join('; '));
  }

  /** Loads a model, or loads it again: the old one serves until the new one is there. */
  async load(name: string): Promise<void> {
    const underway = this.#loading.get(name);
    if (underway !== undefined) return underway;
    const loading = this.#open(name);
    this.#loading.set(name, loading);
    try {
      await loading;
    } finally {
      this.#loading.delete(name);
    }
  }

  async #open(name: string): Promise<void> {
    const files = await this.#find(name);
    if (this.#entries.size >= this.#options.maxModels && !this.#entries.has(name))
      throw modelNotReady(
        name,
        `This server holds ${this.#entries.size} models; --max_models allows no more.`,
      );
    const entry: Entry = this.#entries.get(name) ?? { state: 'LOADING', reason: '', session: undefined };
    this.#entries.set(name, entry);
    const old = entry.session;
    if (old === undefined) entry.state = 'LOADING';
    try {
      const session = await Session.open(files, this.#options.threads, (why) => {
        this.#lost(name, session, why);
      });
      Object.assign(entry, { session, state: 'READY', reason: '' });
      await old?.close();
    } catch (error) {
      entry.reason = (error as Error).message;
      if (old === undefined) entry.state = 'UNAVAILABLE';
      throw error;
    }
  }

  /** @throws MusterError `not_found` */
  async unload(name: string): Promise<void> {
    await this.#loading.get(name)?.catch(() => undefined);
    const session = this.#entries.get(name)?.session;
    if (session === undefined) throw modelNotFound(name);
    this.#entries.delete(name);
    await session.close();
  }

  /** @throws MusterError `not_found` for an unknown or unloaded model, `model_not_ready` for one that is not loaded yet */
  get(name: string): Session {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw modelNotFound(name);
    if (entry.session === undefined)
      throw modelNotReady(name, entry.reason === '' ? undefined : entry.reason);
    return entry.session;
  }

  /** Models that can serve. */
  names(): string[] {
    return [...this.#entries].filter(([, entry]) => entry.session !== undefined).map(([name]) => name);
  }

  /** All models on disk, loaded or not. */
  async index(): Promise<IndexEntry[]> {
    const { folder, modelName } = this.#options;
    const single = await findModel(modelName, folder);
    const names = single === undefined ? await listModels(folder) : [modelName];
    const all = [...new Set([...names, ...this.#entries.keys()])];
    return all.map((name) => {
      const { state, reason } = this.#entries.get(name) ?? { state: 'UNAVAILABLE', reason: 'unloaded' };
      return { name, state, reason };
    });
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#loading.values());
    const sessions = [...this.#entries.values()].map((entry) => entry.session);
    this.#entries.clear();
    await Promise.all(sessions.map(async (session) => session?.close()));
  }

  async #find(name: string): Promise<ModelFiles> {
    const { folder, modelName } = this.#options;
    const single = await findModel(modelName, folder);
    if (single !== undefined) {
      if (name !== modelName) throw modelNotFound(name);
      return single;
    }
    // A name is one folder inside ours, never a way out of it.
    if (name === '' || name.startsWith('.') || basename(name) !== name) throw modelNotFound(name);
    const known = (await listModels(folder)).includes(name);
    const files = known ? await findModel(name, join(folder, name)) : undefined;
    if (files === undefined) throw modelNotFound(name);
    return files;
  }

  #lost(name: string, session: Session, why: string): void {
    const entry = this.#entries.get(name);
    if (entry?.session !== session) return;
    Object.assign(entry, { session: undefined, state: 'UNAVAILABLE', reason: why });
    this.#options.onLost(name, why);
  }
}
