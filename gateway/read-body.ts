import { isUtf8 } from 'node:buffer';
import { abridge } from '../domain/routing/abridge.ts';
import { describeJsonError } from '../domain/routing/json-error.ts';
import { boundaryOf, formModel, headBytesMax, partsMax } from '../domain/routing/multipart-model.ts';
import { hasByteOrderMark } from '../domain/routing/splice-model.ts';
import type { Refusal } from './errors.ts';
import { single } from './front/headers.ts';
import type { Exchange } from './front/exchange.ts';
import { asBuffer, indexOfByte } from './as-buffer.ts';

/**
 * The one parse of an OpenAI request. Its bytes stay as they are; the parsed object is for choosing a server
 * (and later for keys, budgets and caches). V1 and V2 bodies are not parsed here: their path names the model,
 * they may be binary, and their servers check them in KServe's own words. Of larger bodies, long strings of content
 * are neither read nor checked (`abridge`): that is the server's part, and would be a sixth of the cost of 32 KB here.
 */
export type ParsedBody =
  | {
      readonly kind: 'parsed';
      readonly fields: Readonly<Record<string, unknown>>;
      /** Several of its names may be `model`: a server may take another one than JSON.parse does. */
      readonly mayNameModelTwice: boolean;
    }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** Where an error lies is looked for in bodies up to this size; the look is slow. */
const locateBytesMax = 1024 * 1024;
/** Below, leaving out costs as much as parsing. */
const abridgedBytesMin = 4096;

/** @param parseWhole for who needs all of the body: takes its text, throws when it is not JSON */
export function parseBody(exchange: Exchange, parseWhole?: (text: string) => unknown): ParsedBody {
  const { body } = exchange;
  const encoding = single(exchange.headers['content-encoding']);
  if (encoding !== null && encoding !== 'identity') {
    return refused(
      'unsupported_encoding',
      `Send the body without content-encoding: '${encoding}' is not read here.`,
    );
  }
  if (body === null || body.length === 0)
    return refused('invalid_json', 'The body is empty: send a JSON object.');
  if (!isUtf8(body)) return refused('invalid_json', 'The body is not valid JSON: it is not UTF-8.');
  const document = hasByteOrderMark(body) ? body.subarray(3) : body;
  let fields: unknown;
  let mayNameModelTwice = false;
  try {
    if (parseWhole !== undefined) fields = parseWhole(document.toString());
    else {
      const text = shortText(document);
      fields = JSON.parse(text);
      mayNameModelTwice = mayNameTwice(text);
    }
  } catch {
    return refused('invalid_json', `The body is not valid JSON${locate(document)}.`);
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    return refused('invalid_request', 'The body must be a JSON object.');
  }
  return { kind: 'parsed', fields: fields as Record<string, unknown>, mayNameModelTwice };
}

export type ReadForm =
  | { readonly kind: 'read'; readonly model: string | null; readonly isModelDoubled: boolean }
  | { readonly kind: 'refused'; readonly refusal: Refusal };

/** The `model` field of a multipart form, without touching the files beside it. */
export function readFormModel(exchange: Exchange): ReadForm {
  const type = single(exchange.headers['content-type']) ?? '';
  if (exchange.body === null || boundaryOf(type) === null) {
    const message =
      'Send the request as multipart/form-data with a boundary, and the model in its field "model".';
    return { kind: 'refused', refusal: { code: 'invalid_request', message } };
  }
  const form = formModel(exchange.body, type);
  if (form !== null) return { kind: 'read', model: form.model, isModelDoubled: form.isDoubled };
  const message = `The form cannot be read: it must end with its boundary and two hyphens, have at most ${partsMax} parts and ${headBytesMax} bytes in the head of a part, and each part must say its name once, as in: form-data; name="model".`;
  return { kind: 'refused', refusal: { code: 'invalid_request', message } };
}

function refused(code: Refusal['code'], message: string): ParsedBody {
  return { kind: 'refused', refusal: { code, message } };
}

function shortText(document: Buffer): string {
  const short = document.length < abridgedBytesMin ? document : asBuffer(abridge(document, indexOfByte));
  return short.toString();
}

/** Quick, and true too often: for names within, and where a letter of `model` may be escaped. */
function mayNameTwice(text: string): boolean {
  const first = text.indexOf('"model"');
  return text.includes('"model"', first + 1) || text.includes('\\u006');
}

function locate(document: Buffer): string {
  if (document.length > locateBytesMax) return '';
  return `: ${describeJsonError(document.toString())}`;
}
