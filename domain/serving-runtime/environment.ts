import type { LocalEnvironment } from '../workload/workload.ts';

const annotation = 'muster.dev/local-environment';

export type ParsedEnvironment =
  | { readonly ok: true; readonly environment: LocalEnvironment }
  | { readonly ok: false; readonly problem: string };

/** `name==version`, with extras; a version without wildcard, so that one text means one environment. */
const pinned =
  /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*\])?==[A-Za-z0-9._+!]+$/;

/**
 * Reads `node`, or `python: package==1.2 other==3.4`. Every requirement is pinned: an environment is made once,
 * cached by its text, and must be the same one tomorrow. Options (`--index-url …`), addresses and paths are no
 * requirements, so that a runtime cannot send pip elsewhere.
 */
export function parseEnvironment(text: string): ParsedEnvironment {
  const trimmed = text.trim();
  if (trimmed === 'node') return { ok: true, environment: { kind: 'node' } };
  const list = /^python:\s*(.*)$/s.exec(trimmed)?.[1];
  if (list === undefined) {
    return {
      ok: false,
      problem: `${annotation} must be "node" or "python: package==version …", not "${trimmed}"`,
    };
  }
  const requirements = list.split(/\s+/).filter((part) => part !== '');
  const loose = requirements.find((requirement) => !pinned.test(requirement));
  if (loose !== undefined) {
    return {
      ok: false,
      problem: `${annotation}: "${loose}" must be pinned as package==version`,
    };
  }
  return { ok: true, environment: { kind: 'python', requirements } };
}
