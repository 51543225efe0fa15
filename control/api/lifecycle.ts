import type { InferenceService } from '../../domain/inference-service/inference-service.schema.ts';
import type { ApplyOutcome } from '../../domain/inference-service/messages.ts';

/** What the control API asks of services' workflows; by Temporal in the product, in memory in tests of the API. */
export interface Lifecycle {
  /**
   * Creates the service or changes it.
   *
   * @param generationBefore the newest generation that is stored, 0 when none is
   *
   * @throws MusterError invalid_manifest or conflict when the workflow refuses, temporal_unavailable when nobody
   *   could be asked, timeout when no worker answered
   */
  apply(object: InferenceService, generationBefore?: number): Promise<ApplyOutcome>;
  /** Stops or starts a service, its spec stays. @throws MusterError not_found when it has no workflow */
  setStopped(namespace: string, name: string, stopped: boolean): Promise<ApplyOutcome>;
  /** Takes a service's servers away until somebody asks for it. @throws MusterError not_found, conflict while stopped */
  sleep(namespace: string, name: string): Promise<ApplyOutcome>;
  /** Brings a sleeping service back. Nothing happens to one that is awake. @throws MusterError not_found */
  wake(namespace: string, name: string): Promise<void>;
  /** Begins the service's deletion. @throws MusterError not_found when it has no workflow */
  remove(namespace: string, name: string): Promise<void>;
  /** Starts the workflow of a batch; one that was started already goes on. @throws as `apply` does */
  startBatch(id: string): Promise<void>;
  /** Asks a batch to end early. @throws MusterError not_found when it has no workflow */
  cancelBatch(id: string): Promise<void>;
  /** True when Temporal answers. */
  isReachable(): Promise<boolean>;
  close(): Promise<void>;
}
