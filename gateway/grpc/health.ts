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

export function healthService({ isReady, everyMs }: HealthDeps): HealthService {
  const watches = new Set<() => void>();
  let isStopping = false;
  const statusOf = async (service: string): Promise<number> => {
    if (!known.has(service)) return SERVICE_UNKNOWN;
    return !isStopping && (await isReady().catch(() => false)) ? SERVING : NOT_SERVING;
  };
  const implementation = {
    Check: ({ request }: ServerUnaryCall<Fields, Fields>, callback: sendUnaryData<Fields>) => {
      const service = String(request['service']);
      if (!known.has(service)) {
        callback({ code: status.NOT_FOUND, details: `There is no service '${service}' here.` });
        return;
      }
      void statusOf(service).then((value) => {
        callback(null, { status: value });
      });
    },
    Watch: (call: ServerWritableStream<Fields, Fields>) => {
      const service = String(call.request['service']);
      let last = -1;
      let isOver = false;
      const tell = (value: number) => {
        if (value === last || isOver) return;
        last = value;
        call.write({ status: value });
      };
      const look = async () => {
        tell(await statusOf(service));
      };
      const end = () => {
        isOver = true;
        clearInterval(timer);
        watches.delete(stop);
      };
      const stop = () => {
        if (known.has(service)) tell(NOT_SERVING);
        end();
        call.emit('error', { code: status.UNAVAILABLE, details: 'The gateway stops.' });
      };
      const timer = setInterval(() => void look(), everyMs);
      watches.add(stop);
      call.on('cancelled', end);
      call.on('close', end);
      call.on('error', end);
      if (isStopping) stop();
      else void look();
    },
  };
  const stop = () => {
    isStopping = true;
    for (const stopWatch of watches) stopWatch();
  };
  return { implementation, stop };
}
