import type { Dispatcher } from 'undici';
import type { Progress } from '../transfers.ts';

/** What every scheme's fetcher gets. It writes files below `<staging>/files` and nothing anywhere else but staging. */
export interface FetchTask {
  readonly uri: string;
  readonly staging: string;
  /** The validator of the content that is there already; null when there is none. */
  readonly known: string | null;
  readonly signal: AbortSignal;
  readonly report: (progress: Progress) => void;
  readonly limits: StorageLimits;
}

/** `unchanged` when the source still is what `known` says. `archive`: the one file's kind, where its name does not tell. */
export type Fetched =
  | { readonly unchanged: true }
  | { readonly unchanged: false; readonly validator: string | null; readonly archive?: 'zip' | 'tar' | null };

export interface StorageLimits {
  /** Of one source, as downloaded and as unpacked. */
  readonly maxBytes: number;
  readonly maxFiles: number;
  /** Before the second try of a download that failed; it doubles with each. */
  readonly firstRetryMs: number;
}

export const defaultStorageLimits: StorageLimits = {
  maxBytes: 512 * 1024 ** 3,
  maxFiles: 100_000,
  firstRetryMs: 400,
};

export interface StorageDeps {
  /** Muster's own folder, for relative file URIs. */
  readonly root: string;
  readonly dispatcher: Dispatcher;
  readonly hubEndpoint: string;
  readonly hubToken: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly python?: string;
}
