/** Where a gateway's route tables come from: the control API, a file, or the process that started this one. */
export interface TableSource {
  /**
   * Before the port opens: the first table, where it can be had at once.
   * @throws when there must be one and there is none
   */
  first(): Promise<void>;
  /** Once the port is open: follows changes until `stop`. */
  follow(): void;
  stop(): Promise<void>;
}
