/**
 * What the embedded parent tells about itself: over IPC to the CLI that started it, and in <data>/run/state.json
 * for `muster status`, `muster down` and for finding the ports in use.
 */
export type ProcessPhase = 'waiting' | 'starting' | 'running' | 'restarting' | 'stopping' | 'stopped';

export interface ProcessState {
  readonly name: string;
  readonly phase: ProcessPhase;
  readonly pid: number | null;
  /** How often it was started again after it ended by itself. */
  readonly restarts: number;
  /** For people: what it waits for, or how it ended. */
  readonly message: string;
}

export interface UpState {
  readonly pid: number;
  readonly startedAt: string;
  /** ready: every process runs and answers where it can be asked. */
  readonly phase: 'starting' | 'ready' | 'stopping' | 'stopped';
  readonly processes: readonly ProcessState[];
  readonly endpoints: {
    readonly gateway: string;
    readonly api: string;
    readonly temporal: string;
    /** null: the Temporal server is not ours, so its UI is not known. */
    readonly temporalUi: string | null;
  };
  readonly dataDir: string;
  readonly detached: boolean;
}

/** From the parent to the CLI. */
export type ParentMessage =
  | { readonly type: 'state'; readonly state: UpState }
  /** The parent ends; `code` is an ErrorCode of domain/errors.ts. */
  | { readonly type: 'fatal'; readonly code: string; readonly message: string };

/** From the CLI to the parent: go on without me. Without it the parent stops when the CLI ends. */
export interface DetachMessage {
  readonly type: 'detach';
}

export const stateFile = (runFolder: string): string => `${runFolder}/state.json`;
export const lockFile = (runFolder: string): string => `${runFolder}/parent.json`;
export const childrenFile = (runFolder: string): string => `${runFolder}/children.json`;
