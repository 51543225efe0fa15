import { assemble } from './assemble.ts';
import { withoutEvents } from './events.ts';
import { isObject, objectIn } from './exact-values.ts';
import type { Form } from './judge.ts';
import type { Delivery } from './request.ts';
import { unroll } from './unroll.ts';

/** How a kept answer is given to a request that may want it in another form than it was kept in. */
export interface Kept {
  readonly status: number;
  readonly form: Form;
  readonly delivery: Delivery;
  readonly hasUsage: boolean;
}

export interface Wanted {
  readonly isStream: boolean;
  /** `stream_options.include_usage` of a stream. */
  readonly includeUsage: boolean;
}

export type Delivered =
  | { readonly kind: 'as-kept' }
  | { readonly kind: 'made'; readonly form: Form; readonly text: string }
  | { readonly kind: 'impossible' };

const asKept: Delivered = { kind: 'as-kept' };
const impossible: Delivered = { kind: 'impossible' };

/** @param text of the kept answer; asked for only where it must change */
export function deliver(kept: Kept, wanted: Wanted, text: () => string): Delivered {
  try {
    return choose(kept, wanted, text);
  } catch {
    return impossible; // nested too deeply to be written again
  }
}

function choose(kept: Kept, wanted: Wanted, text: () => string): Delivered {
  const { form, delivery } = kept;
  if (delivery === 'plain' || kept.status !== 200) return asKept;
  if (form === 'json') {
    if (!wanted.isStream) return asKept;
    return made('events', unroll(text(), delivery, wanted.includeUsage));
  }
  if (wanted.isStream) {
    if (wanted.includeUsage === kept.hasUsage) return asKept;
    // Chunks that say what it took cannot be made up; those that nobody asked for are left out.
    return wanted.includeUsage ? impossible : made('events', withoutEvents(text(), isUsageAlone));
  }
  return kept.hasUsage ? made('json', assemble(text(), delivery)) : impossible;
}

function made(form: Form, text: string | null): Delivered {
  return text === null ? impossible : { kind: 'made', form, text };
}

function isUsageAlone(data: string): boolean {
  if (!data.includes('"usage"')) return false;
  const chunk = objectIn(data);
  return (
    chunk !== null && isObject(chunk['usage']) && (chunk['choices'] as unknown[] | undefined)?.length === 0
  );
}

/** What a stream's request wants of it. */
export function wantedOf(fields: Readonly<Record<string, unknown>> | null): Wanted {
  if (fields?.['stream'] !== true) return notStreamed;
  const options = fields['stream_options'];
  return isObject(options) && options['include_usage'] === true ? withUsage : withoutUsage;
}

const notStreamed: Wanted = Object.freeze({ isStream: false, includeUsage: false });
const withUsage: Wanted = Object.freeze({ isStream: true, includeUsage: true });
const withoutUsage: Wanted = Object.freeze({ isStream: true, includeUsage: false });
