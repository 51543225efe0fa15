/** Plain numbers of all connections to servers; gateway/observe reads them when it is scraped. */
export class SocketStats {
  /** Now, connecting ones too. */
  connections = 0;
  idle = 0;
  /** Requests that wait for a connection. */
  waiting = 0;
  /** Connections made so far. */
  opened = 0;
  /** Requests that found an idle connection. */
  reused = 0;
  /** Requests that waited in vain, or might not even wait. */
  refused = 0;
  /** Requests lost on a connection that its server had most likely closed while idle. */
  stale = 0;
}
