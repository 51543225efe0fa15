import type { UpState } from '../../up/state.ts';

/**
 * What to try once the stack is up: lines that work as they are pasted.
 * @param ready names of the samples that are ready
 */
export function nextSteps(state: UpState, ready: readonly string[], isDetached: boolean): string {
  const { gateway, api, temporal, temporalUi } = state.endpoints;
  const json = "-H 'content-type: application/json'";
  const tensor = '{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}';
  const curls = [
    ...(ready.includes('iris')
      ? [
          `curl ${gateway}/v2/models/iris/infer ${json} -d '{"inputs": [${tensor}]}'`,
          `curl ${gateway}/v1/models/iris:predict ${json} -d '{"instances": [[6.7, 3.0, 5.2, 2.3]]}'`,
        ]
      : []),
    ...(ready.includes('tiny-llm')
      ? [
          `curl -N ${gateway}/v1/chat/completions ${json} -d '{"model": "tiny-llm", "stream": true, "max_tokens": 40, ` +
            `"messages": [{"role": "user", "content": "In the beginning"}]}'`,
        ]
      : []),
  ];
  const tries = [
    ...(curls.length === 0 ? [`curl ${gateway}/v1/models`] : curls),
    ...(ready.includes('tiny-llm') ? ['npx muster chat tiny-llm'] : []),
    ...(ready.length === 0 ? ['npx muster deploy -f deploy/samples/iris.yaml --wait'] : []),
  ];
  return [
    `Muster is up. Models answer at ${gateway}`,
    '',
    'Try:',
    ...tries.map((line) => `  ${line}`),
    '',
    `  Temporal UI   ${temporalUi ?? `that of the server at ${temporal}`}`,
    `  Control API   ${api}`,
    `  Data folder   ${state.dataDir}`,
    `  Stop          ${isDetached ? 'npx muster down' : 'Ctrl-C'}`,
  ].join('\n');
}
