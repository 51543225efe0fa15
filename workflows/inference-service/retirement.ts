import { condition, log } from '@temporalio/workflow';
import type { ServingRevision } from '../../domain/inference-service/messages.ts';
import type { Entity } from './entity.ts';
import { takeDown } from './routes.ts';

const maxRetiring = 3;

/**
 * Revisions that lost their traffic and still have requests to finish. They end beside the main loop: a long
 * streaming answer delays neither the word that the new revision is ready nor the next update.
 */
export class Retirement {
  private readonly revisions = new Set<string>();

  get isEmpty(): boolean {
    return this.revisions.size === 0;
  }

  /** @param version the first route table without the revision */
  retire(entity: Entity, old: ServingRevision, version: number): void {
    this.revisions.add(old.revision);
    void takeDown(entity, old, version, 'Replaced')
      .catch((error: unknown) => {
        log.error('a replaced revision could not be stopped', { error, revision: old.revision });
      })
      .finally(() => {
        this.revisions.delete(old.revision);
        entity.changed();
      });
  }

  /** Returns when there is room for one more. */
  async room(): Promise<void> {
    await condition(() => this.revisions.size < maxRetiring);
  }

  async finished(): Promise<void> {
    await condition(() => this.isEmpty);
  }
}
