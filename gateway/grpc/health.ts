import { status } from '@grpc/grpc-js';
import type {
  ServerUnaryCall,
  ServerWritableStream,
  UntypedServiceImplementation,
  sendUnaryData,
} from '@grpc/grpc-js';
import type { Fields } from './schema.ts';

/** grpc.health.v1: the readiness of REST's /v2/health/ready, for the whole server and for its one service. */
const known = new Set(['', 'inference.GRPCInferenceService']);
const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;

export interface HealthDeps {
  readonly isReady: () => Promise<boolean>;
  /** How often a watched status is looked at. */
  readonly everyMs: number;
}

export interface HealthService {
  readonly implementation: UntypedServiceImplementation;
  /** The server stops: watchers are told so and sent away, since a watch has no end of its own. */
  readonly stop: () => void;
}

interface Watch {
  tell(value: number): void;
  stop(): void;
}

export function healthService({ isReady, everyMs }: HealthDeps): HealthService {
  const watches = new Set<Watch>();
  let isStopping = false;
  let timer: NodeJS.Timeout | undefined;
  let asked: Promise<number> | null = null;
  /** One question for all who ask before it is answered. */
  const ask = (): Promise<number> =>
    (asked ??= isReady()
      .catch(() => false)
      .then((isServing) => {
        asked = null;
        return isServing && !isStopping ? SERVING : NOT_SERVING;
      }));
  const look = async () => {
    const value = await ask();
    for (const watch of watches) watch.tell(value);
  };
  const begin = (watch: Watch) => {
    watches.add(watch);
    timer ??= setInterval(() => void look(), everyMs);
    void look();
  };
  const end = (watch: Watch) => {
    watches.delete(watch);
    if (watches.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
  const implementation = {
    Check: ({ request }: ServerUnaryCall<Fields, Fields>, callback: sendUnaryData<Fields>) => {
      const service = String(request['service']);
      if (!known.has(service)) {
        callback({ code: status.NOT_FOUND, details: `There is no service '${service}' here.` });
        return;
      }
      void ask().then((value) => {
        callback(null, { status: value });
      });
    },
    Watch: (call: ServerWritableStream<Fields, Fields>) => {
      const watch = watchOf(call);
      if (!known.has(String(call.request['service']))) watch.tell(SERVICE_UNKNOWN);
      else if (isStopping) watch.tell(NOT_SERVING);
      for (const event of ['cancelled', 'close', 'error']) {
        call.on(event, () => {
          end(watch);
        });
      }
      if (isStopping) watch.stop();
      else begin(watch);
    },
  };
  const stop = () => {
    isStopping = true;
    for (const watch of watches) {
      watch.tell(NOT_SERVING);
      watch.stop();
    }
  };
  return { implementation, stop };
}

function watchOf(call: ServerWritableStream<Fields, Fields>): Watch {
  let last = -1;
  return {
    tell: (value) => {
      if (value === last || last === SERVICE_UNKNOWN) return;
      last = value;
      call.write({ status: value });
    },
    stop: () => {
      call.emit('error', { code: status.UNAVAILABLE, details: 'The gateway stops.' });
    },
  };
}
