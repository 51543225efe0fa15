import type { RoutedService, Routes } from '../../domain/routing/routes.ts';
import type { Refusal } from '../errors.ts';
import type { GatewayLimits } from '../limits.ts';
import type { Passage } from '../passage.ts';
import type { Picker } from '../pick/picker.ts';
import type { TimerWheel } from '../timer-wheel.ts';
import type { Endpoint, Endpoints } from '../upstream/endpoints.ts';
import type { UpstreamFailure } from '../upstream/upstream.ts';
import type { Guards } from './guards.ts';

/** What forwarding needs of the gateway, and whom it tells. */
export interface ForwardDeps {
  readonly limits: GatewayLimits;
  readonly endpoints: Endpoints;
  readonly picker: Picker;
  readonly guards: Guards;
  readonly timer: TimerWheel;
  /** The table of now. */
  readonly routes: () => Routes<Endpoint> | null;
  readonly nowMs: () => number;
  readonly chance: () => number;
  /** Answers with an error body in the request's protocol. */
  readonly refuse: (passage: Passage, refusal: Refusal) => void;
  readonly onRetry: (service: RoutedService<Endpoint>) => void;
  readonly onUpstreamFailure: (service: RoutedService<Endpoint>, failure: UpstreamFailure) => void;
  /** A cut stream is not gone on with, and why. */
  readonly onNotContinued: (passage: Passage, why: string) => void;
}
