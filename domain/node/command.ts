import type { Workload } from '../workload/workload.ts';

/** What only the node knows of a replica: fills the placeholders of its command. */
export interface Placement {
  readonly modelDir: string;
  readonly port: number;
  readonly grpcPort: number;
}

/** Argument vector and own environment of a replica's process. A placeholder fills once, never its own value. */
export function fillCommand(
  workload: Pick<Workload, 'command' | 'args' | 'env'>,
  placement: Placement,
): { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> } {
  const values: Readonly<Record<string, string>> = {
    ModelDir: placement.modelDir,
    Port: String(placement.port),
    GrpcPort: String(placement.grpcPort),
  };
  const fill = (text: string): string =>
    text.replace(/\{\{\s*\.(ModelDir|Port|GrpcPort)\s*\}\}/g, (whole, name: string) => values[name] ?? whole);
  return {
    argv: [...workload.command, ...workload.args].map(fill),
    env: Object.fromEntries(workload.env.map(({ name, value }) => [name, fill(value)])),
  };
}

/** The variables of the agent that a model server may see; no token and nothing of Muster or Temporal is among them. */
export const inheritedVariables = ['HOME', 'TMPDIR', 'LANG'] as const;

/**
 * @param agentEnv the agent's own environment
 * @param bin folders of programs, first match wins, before the agent's own PATH
 */
export function serverEnvironment(
  agentEnv: Readonly<Record<string, string | undefined>>,
  bin: readonly string[],
  own: Readonly<Record<string, string>>,
): Record<string, string> {
  const env: Record<string, string> = {
    PATH: [...bin, agentEnv['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'].join(':'),
    LANG: 'C.UTF-8',
  };
  for (const name of inheritedVariables) {
    const value = agentEnv[name];
    if (value !== undefined && value !== '') env[name] = value;
  }
  return { ...env, ...own };
}

const namePart = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** True when every part of the text is a Kubernetes name: such a part cannot leave a folder or hide a file. */
export function areNames(...parts: readonly string[]): boolean {
  return parts.every((part) => namePart.test(part) && !part.includes('..'));
}
