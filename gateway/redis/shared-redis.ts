import { createHash } from 'node:crypto';
import { Redis, ReplyError } from 'ioredis';
import type { Logger } from 'pino';
import { Subscriptions } from './subscriptions.ts';
import type { HearingTimes } from './subscriptions.ts';

/**
 * The one Redis client of a gateway process, shared by budgets, rate limits and caches. Redis is a help, never a
 * need: commands are not queued while it is away, each has a short bound, and after one command ran out of time the
 * client counts as away until a probe is answered, so that a hung server costs one wait and not one a request. After
 * `probesMax` of them without an answer the connection is taken for dead, and another is made.
 * Nobody waits for the connection: `isReady` says whether asking makes sense.
 */
export interface SharedRedisOptions {
  /** redis:// or rediss://, with user, password and database. */
  readonly url: string;
  readonly logger: Logger;
  readonly commandMs?: number;
  readonly connectMs?: number;
  /** Between probes of a server that ran out of time. */
  readonly probeMs?: number;
  /** Longest wait between two tries to connect. */
  readonly reconnectMsMax?: number;
  /** Between pings of the connection that only hears; without an answer it is made anew. */
  readonly hearingMs?: number;
}

/** In a row: with the default times 4 s, so that a slow command of Redis costs no connection. */
const probesMax = 8;
const refusalSayMs = 60_000;

/** Why a command failed: no answer in time, no connection, or an error that Redis answered. */
export type RedisFailure = 'timeout' | 'connection' | 'reply';

/** A Lua script, sent by its hash; the text follows only when Redis does not know it. */
export interface RedisScript {
  readonly lua: string;
  readonly sha1: string;
}

export class SharedRedis {
  /** For commands that `ask` and `run` do not cover. Its errors are the caller's to catch. */
  readonly client: Redis;
  readonly failures: Record<RedisFailure, number> = { timeout: 0, connection: 0, reply: 0 };
  /** Times the connection became ready. */
  connects = 0;
  private readonly logger: Logger;
  private readonly probeMs: number;
  private isSuspect = false;
  private isLogged = false;
  private probe: NodeJS.Timeout | undefined;
  private probesMissed = 0;
  private refusalSaidMs = -Infinity;
  private readonly hearingTimes: HearingTimes;
  private subscriptions: Subscriptions | null = null;
  private readonly readyListeners: (() => void)[] = [];

  constructor(options: SharedRedisOptions) {
    const reconnectMsMax = options.reconnectMsMax ?? 2_000;
    this.hearingTimes = { retryMs: reconnectMsMax, pingMs: options.hearingMs ?? 5_000 };
    this.logger = options.logger;
    this.probeMs = options.probeMs ?? 250;
    this.client = new Redis(options.url, {
      lazyConnect: true,
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: options.commandMs ?? 250,
      connectTimeout: options.connectMs ?? 1_000,
      disableClientInfo: true,
      disconnectTimeout: 250,
      retryStrategy: (times) => Math.min(reconnectMsMax, 50 * 2 ** Math.min(times - 1, 10)),
    });
    this.client.on('error', (error: Error) => {
      this.wentAway(error);
    });
    this.client.on('ready', () => {
      this.connects += 1;
      this.isLogged = false;
      this.logger.info('Redis is connected');
      this.cameBack();
    });
  }

  /** True when a command is worth sending: connected, and the last one was answered in time. */
  get isReady(): boolean {
    return this.client.status === 'ready' && !this.isSuspect;
  }

  /** Begins to connect, and goes on trying; returns at once. */
  start(): void {
    this.client.connect().catch((error: unknown) => {
      this.wentAway(error);
    });
  }

  /** Called each time Redis comes (back), also when it is there already. */
  onReady(listener: () => void): void {
    this.readyListeners.push(listener);
    if (this.isReady) listener();
  }

  /**
   * Sends a command when Redis is ready.
   * @returns its answer; undefined when Redis is away, did not answer in time, or refused: counted, never thrown
   */
  async ask<T>(command: (client: Redis) => Promise<T>): Promise<T | undefined> {
    if (!this.isReady) return undefined;
    try {
      return await command(this.client);
    } catch (error) {
      this.failed(error);
      return undefined;
    }
  }

  /** Runs a script; undefined as `ask`. */
  async run(
    script: RedisScript,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    return this.ask(async (client) => {
      try {
        return await client.evalsha(script.sha1, keys.length, ...keys, ...args);
      } catch (error) {
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
        return client.eval(script.lua, keys.length, ...keys, ...args);
      }
    });
  }

  /** From now on `listener` hears the channel, whenever Redis is there: on a second connection, made when first asked for. */
  hear(channel: string, listener: (text: string) => void): void {
    this.subscriptions ??= new Subscriptions(
      this.client.duplicate({ lazyConnect: true, autoResubscribe: false }),
      (error) => {
        this.failed(error);
      },
      this.hearingTimes,
    );
    this.subscriptions.hear(channel, listener);
  }

  /** Counts an error of a command that was sent by `client`; one that ran out of time makes Redis count as away. */
  failed(error: unknown): void {
    const kind = failureKind(error);
    this.failures[kind] += 1;
    if (kind === 'reply') this.refused(error);
    if (kind === 'timeout') this.suspect();
  }

  close(): void {
    clearTimeout(this.probe);
    this.client.disconnect();
    this.subscriptions?.close();
  }

  /** A full Redis refuses every answer that is to be kept: said once in a while, counted each time. */
  private refused(error: unknown): void {
    const now = performance.now();
    if (now < this.refusalSaidMs + refusalSayMs) return;
    this.refusalSaidMs = now;
    this.logger.warn(plainly(error), 'Redis refused a command (said once a minute)');
  }

  private suspect(): void {
    if (this.isSuspect) return;
    this.isSuspect = true;
    this.logger.warn('Redis does not answer in time: going on without it');
    this.probeLater();
  }

  private probeLater(): void {
    this.probe = setTimeout(() => {
      this.client.ping().then(
        () => {
          this.answered();
        },
        (error: unknown) => {
          if (failureKind(error) === 'reply')
            this.answered(); // a refusal is an answer, too
          else this.missed(error);
        },
      );
    }, this.probeMs);
    this.probe.unref();
  }

  private answered(): void {
    this.logger.info('Redis answers again');
    this.cameBack();
  }

  /** A broken connection is ioredis's to mend, and its 'ready' ends the suspicion; one that is silent is broken here. */
  private missed(error: unknown): void {
    if (!this.isSuspect || this.client.status === 'end') return;
    this.probesMissed = failureKind(error) === 'timeout' ? this.probesMissed + 1 : 0;
    if (this.probesMissed === probesMax) {
      this.probesMissed = 0;
      this.client.disconnect(true);
    }
    this.probeLater();
  }

  private cameBack(): void {
    clearTimeout(this.probe);
    this.isSuspect = false;
    this.probesMissed = 0;
    for (const listener of this.readyListeners) listener();
  }

  /** Said once for each time it goes, not for each try to come back. */
  private wentAway(error: unknown): void {
    if (this.isLogged) return;
    this.isLogged = true;
    this.logger.warn(plainly(error), 'Redis cannot be reached: going on without it');
  }
}

export function redisScript(lua: string): RedisScript {
  return { lua, sha1: createHash('sha1').update(lua).digest('hex') };
}

/** For the log: ioredis hangs the whole command on its errors, answers of tenants and the password among it. */
function plainly(error: unknown): { readonly why: string; readonly command?: string } {
  if (!(error instanceof Error)) return { why: String(error) };
  const { command } = error as { readonly command?: { readonly name?: string } };
  // Redis repeats the arguments of a command that it does not know.
  const why = error.message.replace(/,? with args beginning with:.*$/s, '');
  return command?.name === undefined ? { why } : { why, command: command.name };
}

function failureKind(error: unknown): RedisFailure {
  if (error instanceof ReplyError) return 'reply';
  if (error instanceof Error && error.message === 'Command timed out') return 'timeout';
  return 'connection';
}
