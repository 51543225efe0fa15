const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';

/** What Kubernetes lets namespaces be called (RFC 1123), their length aside. */
export const dnsLabel = new RegExp(`^${label}$`);
/** And most other objects: labels joined by dots. */
export const dnsSubdomain = new RegExp(`^${label}(\\.${label})*$`);
