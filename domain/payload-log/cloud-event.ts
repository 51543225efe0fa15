/**
 * Requests and answers as CloudEvents 1.0 over HTTP, with KServe's types and extensions, so that what reads the events
 * of KServe's agent reads ours. Better than there: an answer has its own content type; a payload passes byte for byte
 * in both formats, JSON numbers untouched; a request of unknown content type is still an event.
 */
export interface PayloadEvent {
  readonly kind: 'request' | 'response';
  /** Ties request and answer together. */
  readonly id: string;
  readonly source: string;
  /** RFC 3339. */
  readonly time: string;
  readonly namespace: string;
  readonly inferenceService: string;
  readonly component: string;
  readonly requestId: string;
  /** Chosen headers of the request; null: none were asked for. */
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly annotations: Readonly<Record<string, string>> | null;
  /** '' when unknown. */
  readonly contentType: string;
  /** '' when the payload is not compressed. */
  readonly contentEncoding: string;
  readonly data: Uint8Array;
}

/** KServe's, before `request` or `response`. */
export const eventTypes = 'org.kubeflow.serving.inference.';

export interface HttpMessage {
  /** Flat: name, value. */
  readonly headers: readonly string[];
  readonly body: Uint8Array;
}

export function binaryMessage(event: PayloadEvent): HttpMessage {
  const headers: string[] = [];
  for (const [name, value] of attributes(event)) headers.push(`ce-${name}`, headerValue(value));
  if (event.contentType !== '') headers.push('content-type', event.contentType);
  if (event.contentEncoding !== '') headers.push('content-encoding', event.contentEncoding);
  return { headers, body: event.data };
}

export function structuredMessage(event: PayloadEvent): HttpMessage {
  const head: Record<string, string> = Object.fromEntries(attributes(event));
  if (event.contentType !== '') head['datacontenttype'] = event.contentType;
  if (event.contentEncoding !== '') head['contentencoding'] = event.contentEncoding;
  const open = JSON.stringify(head).slice(0, -1);
  const text = event.contentEncoding === '' ? jsonText(event) : null;
  const data = text === null ? `"data_base64":${JSON.stringify(base64(event.data))}` : `"data":${text}`;
  return {
    headers: ['content-type', 'application/cloudevents+json; charset=utf-8'],
    body: new TextEncoder().encode(`${open},${data}}`),
  };
}

/** Of an event that `structuredMessage` made: it begins with its version and its type. */
const beginBytes = 256;

/** Whether a message is an event of KServe's types in the structured form, by the begin of its body alone. */
export function isStructuredEvent(contentType: string, body: Uint8Array): boolean {
  if (!/^application\/cloudevents\+json\s*(;|$)/i.test(contentType)) return false;
  const begin = new TextDecoder().decode(body.subarray(0, beginBytes));
  return begin.includes(`"type":"${eventTypes}`);
}

function attributes(event: PayloadEvent): [string, string][] {
  const list: [string, string][] = [
    ['specversion', '1.0'],
    ['type', eventTypes + event.kind],
    ['source', event.source],
    ['id', event.id],
    ['time', event.time],
    ['inferenceservicename', event.inferenceService],
    ['namespace', event.namespace],
    ['component', event.component],
    ['requestid', event.requestId],
  ];
  if (event.metadata !== null) list.push(['metadata', JSON.stringify(event.metadata)]);
  if (event.annotations !== null) list.push(['annotations', JSON.stringify(event.annotations)]);
  return list;
}

/**
 * What a header cannot hold, and percent signs, are percent-encoded (CloudEvents' HTTP binding, 3.1.3.2). Quotes and
 * blanks within stay as they are, though the binding would have them encoded, too: KServe's agent leaves them, its
 * readers take `ce-metadata` for JSON as it stands, and a reader that decodes gets the same.
 */
function headerValue(value: string): string {
  return value.replace(/[^\x20-\x24\x26-\x7e]|^ | $/gu, (character) => {
    let escaped = '';
    // A lone half of a surrogate pair becomes U+FFFD, as in any UTF-8.
    for (const byte of new TextEncoder().encode(character))
      escaped += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    return escaped;
  });
}

/** @returns the payload's own text when it is JSON by type and by form, else null */
function jsonText({ contentType, data }: PayloadEvent): string | null {
  if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(contentType)) return null;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(data);
    JSON.parse(text);
    return text;
  } catch {
    return null;
  }
}

function base64(data: Uint8Array): string {
  let text = '';
  for (let at = 0; at < data.length; at += 0x8000)
    text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

const secretHeaders = new Set([
  ...['authorization', 'proxy-authorization', 'x-api-key', 'api-key'],
  ...['cookie', 'set-cookie', 'x-amz-security-token', 'x-forwarded-client-cert'],
]);

/** The headers that `names` (in any case) asks for; credentials are never among them. */
export function metadataOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  names: readonly string[],
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of names) {
    const lower = name.toLowerCase();
    // x-muster-* are between Muster's own parts: one of them is the installation's token.
    const isSecret = secretHeaders.has(lower) || lower.startsWith('x-muster-');
    const value = isSecret ? undefined : headers[lower];
    if (value !== undefined) found[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return found;
}
