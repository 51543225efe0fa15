import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { AccessPolicy, CertificateRule } from '../../domain/access/access-policy.schema.ts';
import { anonymous, nobody } from '../../domain/access/caller.ts';
import type { Caller } from '../../domain/access/caller.ts';
import { callerOfCertificate, callerOfRule } from '../../domain/access/callers.ts';
import { parseKey } from '../../domain/access/key.ts';
import { hasScope, isProbe, scopeFor } from '../../domain/access/may.ts';
import type { Refusal } from '../errors.ts';
import type { Sender } from '../front/exchange.ts';
import type { Passage } from '../passage.ts';
import type { Flow, Step } from '../step.ts';
import type { AccessLimits } from './access-limits.ts';
import { AccessMetrics } from './access-metrics.ts';
import type { RefusedReason } from './access-metrics.ts';
import { BoundedMap } from '../bounded-map.ts';
import { credentialOf, secretOf } from './credential.ts';
import type { Credential } from './credential.ts';
import { jsonFetcher } from './fetch-json.ts';
import { allows, identityOf, isGood } from './identity.ts';
import type { Generation, Identity } from './identity.ts';
import { KeyRing } from './key-ring.ts';
import type { Clocks } from './key-ring.ts';
import { badToken, brokenKey, expiredKey, issuerAway, lacksScope, noCredential } from './refusals.ts';
import { policyChanges, unknownKey, verificationBusy } from './refusals.ts';
import { Tokens } from './tokens.ts';
import type { Verdict } from './tokens.ts';

/**
 * Who asks, and whether it may do this kind of thing at all; which models it may ask is seen when names are looked up.
 * A credential that was seen before costs a look-up, a request whose head was seen before not even that. Probes go by,
 * whoever sends them; an open gateway lets everybody in, under their own name where they have one.
 */
export interface AccessDeps extends Clocks {
  readonly limits: AccessLimits;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly fetchJson?: (url: string) => Promise<unknown>;
}

interface Refused {
  readonly refusal: Refusal;
  readonly reason: RefusedReason;
  readonly untilMs: number;
}

/** So often a request whose token is being verified is judged anew, since the policy changed. */
const overtakenMax = 3;

export class Access implements Step {
  readonly name = 'access';
  private readonly limits: AccessLimits;
  private readonly logger: Logger;
  private readonly clocks: Clocks;
  private readonly keys: KeyRing;
  private readonly tokens: Tokens;
  private readonly metrics = new AccessMetrics();
  /** Apart from the good ones: whatever is made up can only push out what was made up. */
  private readonly refused: BoundedMap<Refused>;
  /** Requests that wait for their token under the policy in force, by its header's value. */
  private pending = new Map<string, Passage[]>();
  private waiting = 0;
  private verifying = 0;
  /** How often the policy changed while the token of a request was verified; of those few to whom that happened. */
  private readonly overtaken = new WeakMap<Passage, number>();
  private mode: AccessPolicy['mode'] = 'open';
  private isOff = true;
  private certificates: readonly CertificateRule[] = [];
  private readonly byFingerprint: BoundedMap<Identity | null>;
  private applied: AccessPolicy | null = null;
  private policyText = '';
  private generation: Generation = { isOver: false };
  private anyone: Identity = identityOf(anonymous, this.generation, Infinity);

  constructor(deps: AccessDeps) {
    const { limits, logger } = deps;
    this.limits = limits;
    this.logger = logger;
    this.clocks = { now: deps.now, nowMs: deps.nowMs };
    this.keys = new KeyRing(limits, this.clocks);
    this.tokens = new Tokens(limits, this.clocks, deps.fetchJson ?? jsonFetcher(limits), {
      fetched: (issuer, outcome, why) => {
        this.metrics.fetched(issuer, outcome);
        if (outcome === 'failed')
          logger.warn({ issuer, why: why.slice(0, 300) }, 'the keys of an issuer could not be fetched');
      },
      unusable: (issuer, key, why) => {
        const shown = { issuer, key: key.slice(0, 100), why: why.slice(0, 300) };
        logger.warn(shown, 'a key of an issuer cannot be used: tokens that name it are refused');
      },
    });
    this.refused = new BoundedMap(limits.refusedMax);
    this.byFingerprint = new BoundedMap(limits.knownTokensMax);
    this.metrics.register(deps.registry, {
      hashed: () => this.keys.hashed,
      verified: () => this.tokens.verified,
      keys: () => this.keys.size,
      knownKeys: () => this.keys.knownSize,
      knownTokens: () => this.tokens.knownSize,
      refused: () => this.refused.size,
      waiting: () => this.waiting,
      ages: () => this.tokens.ages(),
    });
  }

  /** The policy of a new table: what it ends is over with this call. */
  apply(policy: AccessPolicy): void {
    if (policy === this.applied) return;
    this.applied = policy;
    const isOther = this.keys.use(policy.keys);
    const hasOtherIssuers = this.tokens.use(policy.issuers);
    const text = JSON.stringify([policy.mode, policy.certificates]);
    if (!isOther && !hasOtherIssuers && text === this.policyText) return;
    this.policyText = text;
    this.mode = policy.mode;
    this.certificates = policy.certificates;
    this.generation.isOver = true;
    this.generation = { isOver: false };
    this.anyone = identityOf(anonymous, this.generation, Infinity);
    this.pending = new Map();
    this.refused.clear();
    this.byFingerprint.clear();
    this.isOff =
      policy.mode === 'open' && this.keys.size === 0 && this.tokens.isOff && policy.certificates.length === 0;
  }

  /**
   * Who a caller of before is now: a key by its record in force, a certificate by its rule. What a token said cannot be
   * asked again, so its caller stays what it was. Who brought nothing is let in where nothing is required.
   *
   * @returns null when the key was revoked or has expired, the rule is gone, or a key is required of who brought none
   */
  present(caller: Caller): Caller | null {
    switch (caller.kind) {
      case 'key':
        return this.keys.callerOf(caller.id);
      case 'certificate': {
        const rule = this.certificates.find(({ name }) => name === caller.id);
        return rule === undefined ? null : callerOfRule(rule);
      }
      case 'anonymous':
        return this.mode === 'open' ? anonymous : null;
      default:
        return caller;
    }
  }

  enter(passage: Passage, flow: Flow): boolean {
    if (passage.caller !== null) return this.checkOwn(passage, flow);
    if (this.isOff) {
      this.metrics.admitted.anonymous += 1;
      passage.caller = anonymous;
      return true;
    }
    const remembered = passage.exchange.memo.identity;
    if (remembered !== null && isGood(remembered, passage.startedMs))
      return this.admit(passage, flow, remembered);
    if (isProbe(passage.operation.kind)) {
      passage.caller = this.proberOf(passage);
      return true;
    }
    if (isLocalScrape(passage)) {
      passage.caller = this.mode === 'open' ? anonymous : nobody;
      return true;
    }
    const identity = this.identify(passage, flow);
    return identity !== null && this.admit(passage, flow, identity);
  }

  /**
   * Whether a request whose body is still to come is nobody's that is known: what it sends must not take the room of
   * others. A token that was never seen is a stranger's, until it is verified.
   */
  isStranger(exchange: Sender): boolean {
    if (this.mode === 'open') return false;
    const { memo } = exchange;
    const nowMs = this.clocks.nowMs();
    if (memo.identity !== null && isGood(memo.identity, nowMs)) return false;
    return this.knownBy(exchange, nowMs) === null;
  }

  /** Who it is, without refusing anybody: a bad credential is nobody's, and so is a token that was never verified. */
  private knownBy(exchange: Sender, nowMs: number): Identity | null {
    const credential = credentialOf(exchange.headers);
    if (credential === null) return this.ofCertificate(exchange);
    const { raw } = credential;
    if (raw.length > this.limits.credentialCharsMax || this.refused.get(raw) !== undefined) return null;
    const found =
      this.keys.recall(raw, nowMs) ??
      this.tokens.recall(raw, nowMs) ??
      this.keys.recognise(secretOf(credential), raw);
    return found === 'expired' ? null : found;
  }

  /**
   * Whom a probe comes from: it is let in from anybody, but what a key calls a model is found where the key's requests
   * find it, if they do.
   */
  private proberOf({ exchange, startedMs }: Passage): Caller {
    const known = this.knownBy(exchange, startedMs);
    if (known?.mayInfer === true) return known.caller;
    return this.mode === 'open' ? anonymous : nobody;
  }

  /** @returns null when the request was refused, or waits */
  private identify(passage: Passage, flow: Flow): Identity | null {
    const { exchange, startedMs } = passage;
    const credential = credentialOf(exchange.headers);
    if (credential === null) return this.withoutCredential(passage, flow);
    const { raw } = credential;
    const known = this.keys.recall(raw, startedMs) ?? this.tokens.recall(raw, startedMs);
    if (known !== null) return this.remember(passage, known);
    const refused = this.refused.get(raw);
    if (refused !== undefined && startedMs < refused.untilMs) return this.turnAway(passage, flow, refused);
    return this.firstSight(passage, flow, credential);
  }

  private firstSight(passage: Passage, flow: Flow, credential: Credential): Identity | null {
    const { raw } = credential;
    const secret = raw.length > this.limits.credentialCharsMax ? '' : secretOf(credential);
    if (secret === '') return this.turnAway(passage, flow, this.refusedAs(unknownKey, 'unknown'));
    const found = this.keys.recognise(secret, raw);
    if (found === 'expired')
      return this.turnAwayNext(passage, flow, raw, this.refusedAs(expiredKey, 'expired'));
    if (found !== null) return this.remember(passage, found);
    if (!this.tokens.isOff && Tokens.isToken(secret)) {
      this.verify(passage, flow, secret, raw);
      return null;
    }
    const isBroken = parseKey(secret).kind === 'malformed';
    return this.turnAwayNext(
      passage,
      flow,
      raw,
      this.refusedAs(isBroken ? brokenKey : unknownKey, 'unknown'),
    );
  }

  private withoutCredential(passage: Passage, flow: Flow): Identity | null {
    return (
      this.ofCertificate(passage.exchange) ??
      this.turnAway(passage, flow, this.refusedAs(noCredential, 'missing'))
    );
  }

  private ofCertificate(exchange: Sender): Identity | null {
    const peer = this.certificates.length === 0 ? null : exchange.peer;
    if (peer === null) return null;
    const known = this.byFingerprint.get(peer.fingerprint);
    if (known !== undefined) return known;
    const caller = callerOfCertificate(this.certificates, peer);
    const identity = caller === null ? null : identityOf(caller, this.generation, Infinity);
    this.byFingerprint.set(peer.fingerprint, identity);
    return identity;
  }

  /** Asynchronous, and so only for what was never seen before. */
  private verify(passage: Passage, flow: Flow, token: string, raw: string): void {
    const { limits, pending, generation } = this;
    const others = pending.get(raw);
    if (
      this.waiting >= limits.waitersMax ||
      (others === undefined && this.verifying >= limits.verificationsMax)
    ) {
      this.metrics.refused.busy += 1;
      flow.refuse(passage, verificationBusy);
      return;
    }
    this.waiting += 1;
    if (others !== undefined) {
      others.push(passage);
      return;
    }
    const waiters = [passage];
    pending.set(raw, waiters);
    this.verifying += 1;
    const done = (judge: (waiter: Passage) => void) => {
      pending.delete(raw);
      this.verifying -= 1;
      this.waiting -= waiters.length;
      for (const waiter of waiters) {
        if (waiter.isClosed) continue;
        if (generation.isOver) this.enterAgain(waiter, flow);
        else judge(waiter);
      }
    };
    this.tokens
      .verify(token, raw)
      .then(
        (verdict) => {
          done((waiter) => {
            const identity = this.judged(waiter, flow, raw, verdict);
            if (identity !== null && this.admit(waiter, flow, identity)) flow.proceed(waiter);
          });
        },
        (error: unknown) => {
          done((waiter) => {
            flow.failed(waiter, error);
          });
        },
      )
      .catch((error: unknown) => {
        this.logger.error({ err: error }, 'a request failed after its token was verified');
      });
  }

  /** What was found out under a policy that is over says nothing: the request is judged by the one in force. */
  private enterAgain(passage: Passage, flow: Flow): void {
    const times = (this.overtaken.get(passage) ?? 0) + 1;
    if (times > overtakenMax) {
      this.metrics.refused.busy += 1;
      flow.refuse(passage, policyChanges);
      return;
    }
    this.overtaken.set(passage, times);
    if (this.enter(passage, flow)) flow.proceed(passage);
  }

  private judged(passage: Passage, flow: Flow, raw: string, verdict: Verdict): Identity | null {
    switch (verdict.kind) {
      case 'good':
        return this.remember(passage, verdict.identity);
      case 'unavailable':
        this.metrics.refused.issuer_unavailable += 1;
        flow.refuse(passage, issuerAway);
        return null;
      case 'bad': {
        const refused = this.refusedAs(badToken(verdict.why), 'token');
        return verdict.isFinal
          ? this.turnAwayNext(passage, flow, raw, refused)
          : this.turnAway(passage, flow, refused);
      }
    }
  }

  private remember(passage: Passage, identity: Identity): Identity {
    passage.exchange.memo.identity = identity;
    return identity;
  }

  private refusedAs(refusal: Refusal, reason: RefusedReason): Refused {
    return { refusal, reason, untilMs: this.clocks.nowMs() + this.limits.refusedMs };
  }

  /** Also the next time that this credential comes. */
  private turnAwayNext(passage: Passage, flow: Flow, raw: string, refused: Refused): Identity | null {
    this.refused.set(raw, refused);
    return this.turnAway(passage, flow, refused);
  }

  /** An open gateway knows nobody by this credential: it comes in as anybody else. */
  private turnAway(passage: Passage, flow: Flow, { refusal, reason }: Refused): Identity | null {
    if (this.mode === 'open') return this.anyone;
    this.metrics.refused[reason] += 1;
    flow.refuse(passage, refusal);
    return null;
  }

  private admit(passage: Passage, flow: Flow, identity: Identity): boolean {
    passage.caller = identity.caller;
    const scope = scopeFor(passage.operation.kind);
    if (allows(identity, scope)) {
      this.metrics.admitted[identity.caller.kind] += 1;
      return true;
    }
    this.metrics.refused.scope += 1;
    flow.refuse(passage, lacksScope(scope ?? ''));
    return false;
  }

  /** A request of the gateway to itself, under the name of whoever caused it. */
  private checkOwn(passage: Passage, flow: Flow): boolean {
    const scope = scopeFor(passage.operation.kind);
    if (scope === null || passage.caller === null || hasScope(passage.caller, scope)) {
      this.metrics.admitted.internal += 1;
      return true;
    }
    this.metrics.refused.scope += 1;
    flow.refuse(passage, lacksScope(scope));
    return false;
  }
}

/**
 * Metrics name services and tenants, so they are for callers with the scope, and for a scraper on this machine itself.
 * What a proxy on this machine hands on for others says so in a header, and is not from here.
 */
function isLocalScrape({ operation, exchange }: Passage): boolean {
  if (operation.kind !== 'metrics' || !exchange.isLocal) return false;
  return exchange.headers['x-forwarded-for'] === undefined && exchange.headers['forwarded'] === undefined;
}
