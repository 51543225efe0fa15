import { encodeText, jsonTextOf } from './batch-form.ts';
import type { BatchForm, Joinable, WireMessage } from './batch-form.ts';
import { between, fieldsOf, itemsOf } from './json-ranges.ts';

/** V1: `instances` are joined, `predictions` are split; all else must be equal among the requests. */
interface V1Request extends Joinable {
  /** What stands within the list. */
  readonly instances: string;
  /** The other fields, as they came. */
  readonly rest: string;
}

export const v1Batch: BatchForm<V1Request> = {
  read({ body, headLength }) {
    const text = headLength === null ? jsonTextOf(body) : null;
    const fields = text === null ? null : fieldsOf(text);
    const list = fields?.get('instances');
    const items = text === null || list === undefined ? null : itemsOf(text, list.from);
    if (text === null || fields === null || items === null || items.length === 0) return null;
    const rest = [...fields]
      .filter(([name]) => name !== 'instances')
      .map(([name, { from, to }]) => `${JSON.stringify(name)}:${text.slice(from, to)}`)
      .sort()
      .join(',');
    const instances = between(text, items, 0, items.length);
    return { key: `v1 ${rest}`, rows: items.length, instances, rest };
  },

  join(requests) {
    const rest = requests[0]?.rest ?? '';
    const instances = requests.map((request) => request.instances).join(',');
    const text = `{"instances":[${instances}]${rest === '' ? '' : `,${rest}`}}`;
    return { body: encodeText(text), headLength: null };
  },

  split({ body, headLength }, requests) {
    const text = headLength === null ? jsonTextOf(body) : null;
    const list = text === null ? undefined : fieldsOf(text)?.get('predictions');
    const items = text === null || list === undefined ? null : itemsOf(text, list.from);
    const rows = requests.reduce((sum, request) => sum + request.rows, 0);
    if (text === null || list === undefined || items?.length !== rows) return null;
    const answers: WireMessage[] = [];
    let at = 0;
    for (const request of requests) {
      const own = between(text, items, at, at + request.rows);
      at += request.rows;
      answers.push({
        body: encodeText(`${text.slice(0, list.from)}[${own}]${text.slice(list.to)}`),
        headLength: null,
      });
    }
    return answers;
  },
};
