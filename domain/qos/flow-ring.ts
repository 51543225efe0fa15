/**
 * Tenants of one tier take turns: a ring of those that wait, newcomers at its end, so that a tenant waits for no more
 * than one turn of each of the others, however many requests those have. A request may cost several turns (a long
 * prompt): it is served at once and its tenant then sits out the turns that it owes (surplus round robin, the form
 * of deficit round robin that never looks ahead). A tenant that owes turns keeps its place though it waits for
 * nothing, else it would come back without its debt; debts end when nobody waits at all.
 */
export interface FlowItem<E> {
  readonly tenant: string;
  readonly cost: number;
  flow: Flow<E> | null;
  flowPrevious: E | null;
  flowNext: E | null;
}

export interface Flow<E> {
  readonly tenant: string;
  /** Turns it may take at once; below zero: turns it owes. */
  balance: number;
  size: number;
  first: E | null;
  last: E | null;
  previous: Flow<E>;
  next: Flow<E>;
}

export class FlowRing<E extends FlowItem<E>> {
  private readonly byTenant = new Map<string, Flow<E>>();
  /** Whose turn it is; null: the ring is empty. */
  private head: Flow<E> | null = null;
  private size = 0;

  add(entry: E): void {
    const flow = this.byTenant.get(entry.tenant) ?? this.join(entry.tenant);
    entry.flow = flow;
    entry.flowPrevious = flow.last;
    if (flow.last === null) flow.first = entry;
    else flow.last.flowNext = entry;
    flow.last = entry;
    flow.size += 1;
    this.size += 1;
  }

  take(): E | null {
    while (this.size > 0 && this.head !== null) {
      const flow = this.head;
      this.head = flow.next;
      flow.balance = Math.min(flow.balance + 1, 1);
      const entry = flow.first;
      if (entry !== null && flow.balance > 0) {
        flow.balance -= entry.cost;
        this.remove(entry);
        return entry;
      }
      if (flow.size === 0 && flow.balance >= 0) this.leave(flow);
    }
    return null;
  }

  remove(entry: E): void {
    const { flow, flowPrevious, flowNext } = entry;
    if (flow === null) return;
    if (flowPrevious === null) flow.first = flowNext;
    else flowPrevious.flowNext = flowNext;
    if (flowNext === null) flow.last = flowPrevious;
    else flowNext.flowPrevious = flowPrevious;
    entry.flow = null;
    entry.flowPrevious = entry.flowNext = null;
    flow.size -= 1;
    this.size -= 1;
    if (this.size === 0) this.clear();
    else if (flow.size === 0 && flow.balance >= 0) this.leave(flow);
  }

  /** Tenants that wait or owe turns: for tests, and to see that nothing is left behind. */
  get tenants(): number {
    return this.byTenant.size;
  }

  private join(tenant: string): Flow<E> {
    const flow = { tenant, balance: 0, size: 0, first: null, last: null } as unknown as Flow<E>;
    if (this.head === null) {
      flow.previous = flow.next = flow;
      this.head = flow;
    } else {
      flow.previous = this.head.previous;
      flow.next = this.head;
      flow.previous.next = flow;
      this.head.previous = flow;
    }
    this.byTenant.set(tenant, flow);
    return flow;
  }

  private leave(flow: Flow<E>): void {
    this.byTenant.delete(flow.tenant);
    if (flow.next === flow) {
      this.head = null;
      return;
    }
    flow.previous.next = flow.next;
    flow.next.previous = flow.previous;
    if (this.head === flow) this.head = flow.next;
  }

  private clear(): void {
    this.byTenant.clear();
    this.head = null;
  }
}
