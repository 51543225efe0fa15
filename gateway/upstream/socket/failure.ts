import type { UpstreamFailure } from '../upstream.ts';

/** What went wrong on a connection, in the words of upstream.ts. */
export function failed(kind: UpstreamFailure['kind'], code: string, message: string): UpstreamFailure {
  return { kind, code, message };
}

export function errorCode(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : 'SOCKET_ERROR';
}
