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

export function healthService({ isReady, everyMs }: HealthDeps): UntypedServiceImplementation {
  const statusOf = async (service: string): Promise<number> => {
    if (!known.has(service)) return SERVICE_UNKNOWN;
    return (await isReady().catch(() => false)) ? SERVING : NOT_SERVING;
  };
  return {
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
      const tell = async () => {
        const value = await statusOf(service);
        if (value === last || call.cancelled) return;
        last = value;
        call.write({ status: value });
      };
      void tell();
      const timer = setInterval(() => void tell(), everyMs);
      const end = () => {
        clearInterval(timer);
      };
      call.on('cancelled', end);
      call.on('close', end);
      call.on('error', end);
    },
  };
}
