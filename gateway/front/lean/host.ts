import type { Socket } from 'node:net';
import type { GatewayLimits } from '../../limits.ts';
import type { TurnWrites } from '../../turn-writes.ts';
import type { BodyBudget } from '../body-budget.ts';
import type { Oddity } from './head.ts';
import type { LeanExchange } from './lean-exchange.ts';
import type { SocketReads } from './socket-reads.ts';

/** Limits of time in ticks of the front's clock, which is coarse: one timer serves all connections. */
export interface Ticks {
  readonly head: number;
  readonly request: number;
  readonly idle: number;
  readonly stall: number;
  readonly linger: number;
  readonly grace: number;
}

/** What a front asks of its connections. */
export interface HeldConnection {
  /** Tick of the front's clock at which `expire` is called; 0: none. */
  readonly deadline: number;
  expire(): void;
  /** @returns true when nothing is asked or answered, and was not for as many ticks */
  isIdleSince(ticks: number): boolean;
  close(): void;
  /** The answer was given, and the caller's own work is done. */
  settle(): void;
}

/** What a connection asks of the front that it belongs to. */
export interface ConnectionHost {
  /** Shared by its connections. */
  readonly writes: TurnWrites;
  readonly reads: SocketReads;
  readonly limits: GatewayLimits;
  readonly bodies: BodyBudget;
  readonly ticks: Ticks;
  /** The clock. */
  readonly tick: number;
  /** Header lines of an answer after which the connection stays open. */
  readonly keepAliveLines: string;
  readonly counts: { timedOut: number };
  readonly handedOver: Record<Oddity, number>;
  /** Answers end their connections: the gateway is about to stop. */
  isClosing(): boolean;
  /** The header line `date`. */
  dateLine(): string;
  /** By its head: nobody known asks, so its body has the strangers' part of the room. */
  isStranger(exchange: LeanExchange): boolean;
  /** An error of ours that has no request left to fail. */
  onFault(error: unknown): void;
  /** A whole request. */
  handle(exchange: LeanExchange): void;
  refuseLarge(exchange: LeanExchange): void;
  refuseSlow(exchange: LeanExchange): void;
  refuseBusy(exchange: LeanExchange): void;
  /** To node's parser; what was read of a request was put back before. */
  handOver(socket: Socket): void;
  /** Answers as node does when a head takes too long. */
  emitTimeout(socket: Socket): void;
  /** At the end of the turn, when others had theirs: `exchange.flush()`, and when all is written `connection.settle()`. */
  later(exchange: LeanExchange): void;
  settleLater(connection: HeldConnection): void;
  /** The connection is closed, or somebody else's. */
  forget(connection: HeldConnection): void;
}
