import { readFileSync } from 'node:fs';
import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** The messages of our .proto files as protobufjs compiles them; it never sees a class of ours. */
export type Fields = Record<string, unknown>;

export interface Codec {
  readonly encode: (fields: Fields) => Buffer;
  /** Absent fields are their defaults. @throws when the bytes are not this message */
  readonly decode: (bytes: Uint8Array) => Fields;
}

const load = (file: string): protobuf.Root =>
  protobuf.parse(readFileSync(new URL(file, import.meta.url), 'utf8'), { keepCase: true }).root;
const inference = load('./inference.proto');
const health = load('./health.proto');

/** @param name without its package */
export function codec(name: string): Codec {
  const type = name.startsWith('Health') ? health.lookupType(name) : inference.lookupType(name);
  return {
    encode: (fields) => {
      const bytes = type.encode(fields).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    },
    decode: (bytes) => type.decode(bytes),
  };
}

export type Methods = Record<string, MethodDefinition<Fields, Fields>>;

/** What both ends of gRPC need of a service, from its .proto alone. */
function methodsOf(root: protobuf.Root, name: string): Methods {
  const service = root.lookupService(name);
  const path = service.fullName.slice(1);
  return Object.fromEntries(
    service.methodsArray.map((method) => {
      const request = codec(method.requestType);
      const response = codec(method.responseType);
      const definition: MethodDefinition<Fields, Fields> = {
        path: `/${path}/${method.name}`,
        requestStream: method.requestStream === true,
        responseStream: method.responseStream === true,
        requestSerialize: request.encode,
        requestDeserialize: request.decode,
        responseSerialize: response.encode,
        responseDeserialize: response.decode,
      };
      return [method.name, definition];
    }),
  );
}

export const inferenceMethods = methodsOf(inference, 'GRPCInferenceService');
export const healthMethods = methodsOf(health, 'Health');
