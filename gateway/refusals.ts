import type { ApiProtocol, Operation } from '../domain/routing/operation.ts';
import type { Resolution } from '../domain/routing/resolve.ts';
import type { RoutedService } from '../domain/routing/routes.ts';
import { forbiddenModel } from './access/refusals.ts';
import type { Refusal } from './errors.ts';
import type { HeaderFields } from './header-fields.ts';

/** Why a request finds no service, or one that does not speak its protocol, in words for its caller. */
export function unresolved(resolution: Exclude<Resolution, { kind: 'found' }>): Refusal {
  switch (resolution.kind) {
    case 'unknown': {
      const { model, candidates } = resolution;
      const hint = candidates.length === 0 ? '' : ` Did you mean ${list(candidates)}?`;
      return {
        code: 'model_not_found',
        param: 'model',
        message: `The model '${model}' does not exist.${hint}`,
        kserve: `Model with name ${model} does not exist.${hint}`,
      };
    }
    case 'forbidden':
      return forbiddenModel(resolution.model);
    case 'ambiguous':
      return {
        code: 'model_ambiguous',
        param: 'model',
        message: `More than one service serves a model '${resolution.model}': say ${list(resolution.candidates)}.`,
      };
    case 'no-model':
      return {
        code: 'invalid_request',
        param: 'model',
        message: "Say which model: 'model' must be a string.",
      };
  }
}

export function wrongProtocol(service: RoutedService, asked: ApiProtocol, model: string): Refusal {
  const speaks = service.route.protocols;
  const has = speaks.length === 0 ? 'none that the gateway knows' : list(speaks);
  return {
    code: 'unsupported_protocol',
    param: 'model',
    message: `The model '${model}' does not speak the ${asked} protocol; it has ${has}.`,
  };
}

/** True for a request of a web page that is not this server's own. */
export function isForeign(headers: HeaderFields): boolean {
  const { origin, host } = headers;
  return origin !== undefined && origin !== `http://${String(host)}` && origin !== `https://${String(host)}`;
}

export const noTable: Refusal = {
  code: 'gateway_not_ready',
  message: 'The gateway has no route table yet, or is shutting down.',
  kserve: 'Server is not ready.',
};

export function noExplainer(model: string): Refusal {
  return { code: 'not_implemented', message: `Model with name ${model} has no explainer.` };
}

export const foreignOrigin: Refusal = {
  code: 'forbidden_origin',
  message: 'Web pages of another origin may not load or unload models.',
};

export function unrouted(operation: Operation, method: string, path: string): Refusal {
  const where = `${method} ${path.slice(0, 200)}`;
  if (operation.kind === 'wrong-method') {
    const message = `${where} is not allowed: use ${operation.allow}.`;
    return { code: 'method_not_allowed', message, allow: operation.allow };
  }
  if (operation.kind === 'bad-path')
    return { code: 'invalid_request', message: `${where}: the path is malformed.` };
  return {
    code: 'unknown_url',
    message: `Unknown request URL: ${where}. See GET /v1/models and GET /v2/models.`,
  };
}

function list(names: readonly string[]): string {
  const quoted = names.map((name) => `'${name}'`);
  return quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1) ?? ''}`;
}
