/** What is sent to a server of one service. */
export interface ForwardPlan {
  readonly path: string;
  readonly body: Uint8Array | null;
  /** A pure function of its body: it may be sent again after it was sent once. */
  readonly isRepeatable: boolean;
}
