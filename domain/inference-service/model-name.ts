import type { Workload } from '../workload/workload.ts';
import type { InferenceService } from './inference-service.schema.ts';

/** More names for a service's model, separated by commas. */
export const aliasesAnnotation = 'muster.dev/aliases';

/** Flags by which servers are told the name of their model: KServe's, vLLM's, llama.cpp's. */
const nameFlags = ['--model_name', '--served-model-name', '--alias'] as const;

/**
 * The name that a server started with these arguments knows its model by. KServe's rule: the last `--model_name`
 * wins, as `--model_name=x` or as two arguments (one argument "--model_name x" is not a flag); then MLServer's
 * environment variable; else the service's name.
 */
export function modelNameOf(
  args: readonly string[],
  env: readonly { readonly name: string; readonly value?: string | undefined }[],
  serviceName: string,
): string {
  for (const flag of nameFlags) {
    const name = lastFlag(args, flag);
    if (name !== null) return name;
  }
  const named = env.findLast((variable) => variable.name === 'MLSERVER_MODEL_NAME')?.value;
  return named === undefined || named === '' ? serviceName : named;
}

/**
 * The names that a request may use (the service's own first), and the one that the server itself knows.
 * `namespace/name` is not among them: the gateway derives it, as it knows both parts.
 */
export function servedModelNames(
  object: InferenceService,
  workload: Pick<Workload, 'modelName'>,
): { models: string[]; upstream: string } {
  const aliases = (object.metadata.annotations?.[aliasesAnnotation] ?? '')
    .split(',')
    .map((alias) => alias.trim())
    .filter((alias) => alias !== '');
  const models = [...new Set([object.metadata.name, workload.modelName, ...aliases])];
  return { models, upstream: workload.modelName };
}

function lastFlag(args: readonly string[], flag: string): string | null {
  for (let index = args.length - 1; index >= 0; index -= 1) {
    const argument = args[index] ?? '';
    if (argument.startsWith(`${flag}=`)) return argument.slice(flag.length + 1);
    const next = args[index + 1];
    if (argument === flag && next !== undefined) return next;
  }
  return null;
}
