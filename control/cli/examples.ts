/** What `muster COMMAND --help` shows below the options: how people really use it. */
const lines = {
  muster: [
    'muster up --samples                          start everything, with two models to try',
    'muster deploy -f service.yaml --wait         deploy what a KServe manifest describes',
    'muster deploy mine --model ./model.onnx --format onnx --wait',
    'muster get                                   list services',
    'muster chat tiny-llm "In the beginning"      ask a language model',
  ],
  up: [
    'muster up --samples            start, deploy the samples, stop with Ctrl-C',
    'muster up --detach             start in the background; then: muster status, muster down',
    'MUSTER_GATEWAY_PORT=9080 muster up',
  ],
  down: ['muster down', 'muster down --data-dir /srv/muster'],
  status: ['muster status', 'muster status -o json'],
  deploy: [
    'muster deploy -f service.yaml',
    'muster deploy -f deploy/samples --wait',
    'muster deploy -f gateway-policy.yaml        who may ask, budgets, queues, caches',
    'cat service.yaml | muster deploy -f -',
    'muster deploy mine --model /models/mine --format onnx --min 2 --max 4 --wait',
  ],
  plan: ['muster plan -f service.yaml', 'muster plan -f service.yaml -o json'],
  delete: [
    'muster delete iris --wait',
    'muster delete -f service.yaml',
    'muster delete servingruntime mine -n team',
  ],
  stop: ['muster stop iris'],
  sleep: ['muster sleep tiny-llm'],
  start: ['muster start iris --wait'],
  get: [
    'muster get',
    'muster get iris -o yaml',
    'muster get isvc -A -o wide',
    'muster get clusterservingruntimes',
    'muster get -w',
  ],
  describe: ['muster describe iris', 'muster describe clusterservingruntime muster-onnx'],
  history: ['muster history iris'],
  events: ['muster events iris -o json'],
  logs: ['muster logs iris --tail 50', 'muster logs -f tiny-llm'],
  infer: [
    `muster infer iris -d '{"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}'`,
    `muster infer iris -d '{"instances": [[5.1, 3.5, 1.4, 0.2]]}'`,
    'muster infer iris -f request.json',
  ],
  chat: [
    'muster chat tiny-llm "In the beginning"',
    'muster chat smollm2                        a conversation',
    'cat question.txt | muster chat smollm2 --max-tokens 200',
    'MUSTER_API_KEY=mk_… muster chat tiny-llm "In the beginning"',
  ],
  cache: ['muster cache purge tiny-llm', 'muster cache warm questions.jsonl --concurrency 8'],
  'cache purge': ['muster cache purge team/tiny-llm'],
  'cache warm': [
    'muster cache warm questions.jsonl',
    'cat payload-log.jsonl | muster cache warm - --concurrency 16',
  ],
  key: [
    'KEY=$(muster key create ann --tenant acme --expires 90d)',
    'muster key list',
    'muster key revoke 7c3m9xk2vq',
  ],
  'key create': [
    'KEY=$(muster key create ann --tenant acme --tier high --expires 90d)',
    "muster key create ci --model tiny-llm --model 'team/*' --scope infer --scope admin",
    'muster key create prometheus --scope metrics -o json',
  ],
  'key list': ['muster key list', 'muster key list --all -o json'],
  'key rotate': ['muster key rotate 7c3m9xk2vq --grace 24h'],
  'key revoke': ['muster key revoke 7c3m9xk2vq'],
  usage: ['muster usage --by model --since 7d', 'muster usage --by key -o json'],
  budget: ['muster budget list'],
  'budget list': ['muster budget list', 'muster budget list -o json'],
  gateway: [
    'muster gateway --port 9081                 a second gateway beside the first',
    'muster gateway --routes routes.yaml --port 9000 --processes 4',
  ],
  worker: ['TEMPORAL_ADDRESS=temporal:7233 muster worker'],
  observer: ['TEMPORAL_ADDRESS=temporal:7233 muster observer'],
  agent: ['MUSTER_NODE=gpu-1 muster agent'],
  api: ['MUSTER_DATABASE_URL=postgres://… muster api'],
  completion: [
    'source <(muster completion bash)',
    'muster completion zsh > "${fpath[1]}/_muster"',
    'muster completion fish > ~/.config/fish/completions/muster.fish',
  ],
  version: ['muster version'],
} as const;

const exitCodes = `
Exit codes: 0 ok, 1 failed, 2 wrong use, 3 a port is in use or Muster is already running, 4 not found,
5 refused (the manifest or request is wrong), 6 the control API, the gateway or Temporal cannot be reached.
MUSTER_DEBUG=1 shows where an error came from.
`;

export const examples: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(lines).map(([name, list]) => [
    name,
    `\nExamples:\n${list.map((line) => `  ${line}`).join('\n')}\n${name === 'muster' ? exitCodes : ''}`,
  ]),
);
