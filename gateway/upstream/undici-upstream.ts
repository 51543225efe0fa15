import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { FailureKind } from '../../domain/routing/retry.ts';
import type { HeaderFields } from '../header-fields.ts';
import type { UpstreamTls } from './socket/socket-upstream.ts';
import { allHeaders } from './upstream.ts';
import type {
  Connect,
  Upstream,
  UpstreamCall,
  UpstreamFailure,
  UpstreamHandler,
  UpstreamRequest,
} from './upstream.ts';

/**
 * undici's pool behind the Upstream interface, through `dispatch`: no Readable, no promise a request. Connections
 * are not counted here: the gateway's bound on requests in flight bounds them. Idle ones close after 4 s, before
 * the 5 s at which common servers do, so that a request rarely meets a closing connection.
 */
export function undiciUpstreams(connectMs: number, tls?: () => UpstreamTls): Connect {
  return (address) => new UndiciUpstream(address, connectMs, tls?.() ?? {});
}

class UndiciUpstream implements Upstream {
  private readonly pool: Pool;

  constructor(address: string, connectMs: number, { secureContext, serverName }: UpstreamTls) {
    this.pool = new Pool(address, {
      connections: null,
      pipelining: 1,
      connect: {
        timeout: connectMs,
        noDelay: true,
        ...(secureContext === undefined ? {} : { secureContext }),
        ...(serverName === undefined ? {} : { servername: serverName }),
      },
      keepAliveTimeout: 4_000,
      keepAliveMaxTimeout: 4_000,
    });
  }

  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall {
    const call = new UndiciCall(handler);
    this.pool.dispatch(
      {
        method: request.method,
        path: request.path,
        headers: allHeaders(request) as string[],
        body: request.body,
        headersTimeout: request.headersMs,
        bodyTimeout: request.bodyIdleMs,
      },
      call,
    );
    return call;
  }

  close(): void {
    this.pool.close().catch(() => undefined); // closing a pool that is destroyed already
  }
}

class UndiciCall implements UpstreamCall, Dispatcher.DispatchHandler {
  private readonly handler: UpstreamHandler;
  private controller: Dispatcher.DispatchController | null = null;
  private isOver = false;

  constructor(handler: UpstreamHandler) {
    this.handler = handler;
  }

  abort(): void {
    this.isOver = true;
    this.controller?.abort(aborted);
  }

  pause(): void {
    this.controller?.pause();
  }

  resume(): void {
    this.controller?.resume();
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.isOver) controller.abort(aborted);
    else this.handler.onSent();
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: HeaderFields): void {
    if (!this.isOver && status >= 200) this.handler.onHead(status, headers);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (!this.isOver) this.handler.onData(chunk);
  }

  onResponseEnd(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.handler.onEnd();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.isOver) return;
    this.isOver = true;
    this.handler.onFailure(classify(error, this.controller !== null));
  }
}

const aborted = new Error('the request was given up');

/** @param wasSent the request had a connection, so the failure is not one of connecting */
export function classify(error: Error, wasSent: boolean): UpstreamFailure {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  return { kind: failureKind(code, wasSent), code, message: error.message };
}

function failureKind(code: string, wasSent: boolean): FailureKind {
  if (code.startsWith('HPE_') || code === 'HTTPParserError' || garbageCodes.has(code)) return 'garbage';
  if (!wasSent) return 'refused';
  return code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT' ? 'timeout' : 'reset';
}

const garbageCodes = new Set([
  'UND_ERR_HEADERS_OVERFLOW',
  'UND_ERR_RES_EXCEEDED_MAX_SIZE',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
]);
