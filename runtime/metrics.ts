import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Admission } from './admission.ts';
import type { ModelRepository } from './repository.ts';

/** The steps of a request, as KServe's server names and measures them. */
export type Step = 'preprocess' | 'predict' | 'postprocess';

export interface Metrics {
  readonly registry: Registry;
  /** Runs a step and records how long it took. */
  time<T>(step: Step, model: string, work: () => T): T;
  /** Counts an answer; `model` is '' where the request named none of ours. */
  answered(model: string, protocol: string, status: number): void;
}

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

export function createMetrics(admission: Admission, repository: ModelRepository): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const histogram = (step: Step) =>
    new Histogram({
      name: `request_${step}_seconds`,
      help: `${step} request latency`,
      labelNames: ['model_name'],
      buckets,
      registers,
    });
  const steps = {
    preprocess: histogram('preprocess'),
    predict: histogram('predict'),
    postprocess: histogram('postprocess'),
  };
  const requests = new Counter({
    name: 'muster_runtime_requests_total',
    help: 'Answered inference requests',
    labelNames: ['model_name', 'protocol', 'status'],
    registers,
  });
  gauge(registers, 'in_flight', 'Inferences that wait or run', () => admission.inFlight);
  gauge(
    registers,
    'queue_limit',
    'Most inferences that may wait or run (--max_queue)',
    () => admission.limit,
  );
  gauge(
    registers,
    'refused',
    'Inferences refused since the start because the queue was full',
    () => admission.refused,
  );
  gauge(registers, 'models_ready', 'Models that can serve', () => repository.names().length);
  return {
    registry,
    time: (step, model, work) => {
      const end = steps[step].startTimer({ model_name: model });
      const result = work();
      if (!(result instanceof Promise)) {
        end();
        return result;
      }
      return result.finally(end) as typeof result;
    },
    answered: (model, protocol, status) => {
      requests.inc({ model_name: model, protocol, status: String(status) });
    },
  };
}

function gauge(registers: Registry[], name: string, help: string, value: () => number): void {
  new Gauge({
    name: `muster_runtime_${name}`,
    help,
    registers,
    collect() {
      this.set(value());
    },
  });
}
