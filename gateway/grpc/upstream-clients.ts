import { Client, credentials, status } from '@grpc/grpc-js';
import type { ChannelCredentials } from '@grpc/grpc-js';
import type { TimerWheel } from '../timer-wheel.ts';
import type { UpstreamTls } from '../upstream/socket/socket-upstream.ts';
import { ConnectLimit } from './connect-limit.ts';

/**
 * The client, and so the connection, that the calls to one server share. Another follows it when the certificates are
 * others, and when it seems dead: a call waited for long and nothing at all came on that connection meanwhile. A
 * network may forget a connection without a word; the kernel finds out after a quarter of an hour. Pings would find
 * out sooner, but gRPC's core servers send away who pings often. A server that is only slow looks the same, so calls
 * under way are left to their own deadlines, which end all of them in the end, and the client is closed after them.
 */
export interface ClientOptions {
  readonly messageBytesMax: number;
  /** A call's connection; longer: it counts as refused. */
  readonly connectMs: number;
  /**
   * For grpcs:// addresses; asked for each call, and another secure context makes another client. Default: the
   * system's authorities, no certificate of ours.
   */
  readonly tls?: (() => UpstreamTls) | undefined;
}

/** Silent clients with calls under way; while there are as many, the present one stays. */
const silentMax = 4;
/** A call that its caller gave up has waited for long after this, or after half its time. */
const silenceMs = 5_000;

export class UpstreamClients {
  private readonly address: string;
  private readonly options: ClientOptions;
  private readonly wheel: TimerWheel;
  private present: UpstreamClient;
  private silent = 0;
  private isClosed = false;

  constructor(address: string, options: ClientOptions, wheel: TimerWheel) {
    this.address = address;
    this.options = options;
    this.wheel = wheel;
    this.present = this.make();
  }

  /** With the certificates of now; calls on the client of former ones are finished. */
  current(): UpstreamClient {
    const { present, options, address } = this;
    if (this.isClosed) return present;
    const isRenewed =
      address.startsWith('grpcs://') && options.tls?.().secureContext !== present.secureContext;
    if (isRenewed) present.close();
    if (isRenewed || present.isClosing) this.present = this.make();
    return this.present;
  }

  /** A call on this client ended with nothing from the server. */
  unheard(client: UpstreamClient, call: Unheard): void {
    const isPresent = client === this.present && !client.isClosing;
    if (!isPresent || this.silent >= silentMax || !seemsDead(client, call)) return;
    this.silent += 1;
    client.close(() => {
      this.silent -= 1;
    });
  }

  close(): void {
    this.isClosed = true;
    this.present.close();
  }

  private make(): UpstreamClient {
    return new UpstreamClient(this.address, this.options, this.wheel);
  }
}

interface Unheard {
  readonly code: status | undefined;
  readonly waitedMs: number;
  /** Its deadline. */
  readonly headersMs: number;
  /** `heard` of its client when it began. */
  readonly heardBefore: number;
}

function seemsDead(client: UpstreamClient, { code, waitedMs, headersMs, heardBefore }: Unheard): boolean {
  if (client.heard !== heardBefore || !client.connecting.isConnected()) return false;
  if (code === status.DEADLINE_EXCEEDED) return true;
  return code === status.CANCELLED && waitedMs >= Math.min(headersMs / 2, silenceMs);
}

/** A client and what it was made with. */
export class UpstreamClient {
  readonly client: Client;
  readonly connecting: ConnectLimit;
  readonly secureContext: UpstreamTls['secureContext'];
  /** How often something came from the server. */
  heard = 0;
  /** No new calls go on it. */
  isClosing = false;
  private inFlight = 0;
  private onClosed: () => void = () => undefined;

  constructor(address: string, { messageBytesMax, connectMs, tls }: ClientOptions, wheel: TimerWheel) {
    const target = address.slice(address.indexOf('//') + 2);
    const { secureContext, serverName } = tls?.() ?? {};
    this.secureContext = secureContext;
    this.client = new Client(target, credentialsFor(address, secureContext), {
      'grpc.max_receive_message_length': messageBytesMax,
      'grpc.max_send_message_length': messageBytesMax,
      'grpc.enable_retries': 0,
      'grpc.service_config_disable_resolution': 1,
      'grpc.enable_http_proxy': 0, // the table alone says where requests go
      'grpc.use_local_subchannel_pool': 1, // else clients that follow each other share the connection
      ...(serverName === undefined ? {} : { 'grpc.ssl_target_name_override': serverName }),
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.min_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    });
    this.connecting = new ConnectLimit(this.client, wheel, connectMs);
  }

  begin(): void {
    this.inFlight += 1;
  }

  end(): void {
    this.inFlight -= 1;
    if (this.isClosing && this.inFlight === 0) this.finish();
  }

  /** When the calls in flight are over. */
  close(onClosed: () => void = () => undefined): void {
    if (this.isClosing) return;
    this.isClosing = true;
    this.onClosed = onClosed;
    if (this.inFlight === 0) this.finish();
  }

  private finish(): void {
    this.client.close();
    this.onClosed();
  }
}

function credentialsFor(address: string, context: UpstreamTls['secureContext']): ChannelCredentials {
  if (address.startsWith('grpc://')) return credentials.createInsecure();
  return context === undefined ? credentials.createSsl() : credentials.createFromSecureContext(context);
}
