import { Command } from 'commander';
import type { Option } from 'commander';
import { createContext, type Context, type GlobalOptions, type Io } from './context.ts';
import type { GatewayFlags, ProcessName } from './commands/run-process.ts';
import { examples } from './examples.ts';
import { rawOutput, repeated } from './options.ts';
import { addCache } from './cache-program.ts';
import { addKeys } from './key-program.ts';
import { addUsage } from './usage-program.ts';

/**
 * The tree of commands. Only names, options and help live here; what a command does is loaded when it is called,
 * so that the CLI starts fast.
 */
export function createProgram(io: Io): Command {
  const program = new Command('muster')
    .description('Deploys, rolls out, scales and serves machine-learning models and LLMs.')
    .option('-n, --namespace <namespace>', 'namespace of the object (default: default)')
    .option('--data-dir <folder>', 'data folder (MUSTER_DATA_DIR, default: ~/.muster)')
    .option('--api <url>', 'control API (MUSTER_API_URL, default: that of the data folder)')
    .option('--gateway <url>', 'gateway (MUSTER_GATEWAY_URL, default: that of the data folder)')
    .option('--api-key-file <file>', 'file with the API key for the gateway (default: MUSTER_API_KEY)')
    .addHelpText('after', examples['muster'] ?? '')
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) })
    .showHelpAfterError('(muster --help lists all commands, muster COMMAND --help explains one)');

  const context = (): Context => createContext(io, program.opts<GlobalOptions>());
  addStack(program, context);
  addDeploying(program, context);
  addReading(program, context);
  addAsking(program, context);
  program.commandsGroup('Who may ask:');
  addKeys(program, context);
  addCache(program, context);
  addUsage(program, context);
  addProcesses(program, context);
  for (const command of program.commands) {
    finish(command, program, command.name());
    for (const inner of command.commands) finish(inner, program, `${command.name()} ${inner.name()}`);
  }
  return program;
}

function finish(command: Command, program: Command, words: string): void {
  command.exitOverride().copyInheritedSettings(program);
  const text = examples[words];
  if (text !== undefined) command.addHelpText('after', text);
}

type Contextual = () => Context;

function addStack(program: Command, context: Contextual): void {
  program.commandsGroup('The stack on this machine:');
  program
    .command('up')
    .description('start Temporal and all of Muster on this machine')
    .option('-d, --detach', 'leave it running in the background')
    .option('--samples', 'deploy the samples of deploy/samples and wait until they are ready')
    .action(async (options: object) => (await import('./commands/up.ts')).up(context(), options));
  program
    .command('down')
    .description('stop it')
    .action(async () => (await import('./commands/down.ts')).down(context()));
  program
    .command('status')
    .description('show its processes, nodes and whether Temporal is reachable')
    .addOption(rawOutput())
    .action(async (options: object) => (await import('./commands/status.ts')).status(context(), options));
}

function addDeploying(program: Command, context: Contextual): void {
  program.commandsGroup('Change:');
  program
    .command('deploy')
    .alias('apply')
    .description('create or change services, runtimes and the policy of the gateways')
    .argument('[name]', 'name of a service that the options describe')
    .addOption(files('manifest, folder of manifests, or - for standard input; may be repeated'))
    .option('--model <uri>', 'where the model is: a path, file://, https://, hf://, pypi://')
    .option('--format <format>', 'model format, e.g. onnx, gguf, sklearn')
    .option('--runtime <runtime>', 'ServingRuntime to use (default: the first that fits)')
    .option('--protocol <version>', 'v1, v2 or openai')
    .option('--min <replicas>', 'fewest replicas')
    .option('--max <replicas>', 'most replicas')
    .option('-w, --wait', 'wait until the services are ready')
    .option('--timeout <duration>', 'how long to wait', '10m')
    .action(async (name: string | undefined, options: { timeout: string }) =>
      (await import('./commands/deploy.ts')).deploy(context(), name, options),
    );
  program
    .command('plan')
    .description('show what a deploy would do, and why, without doing it')
    .addOption(
      files('manifest, folder of manifests, or - for standard input; may be repeated').makeOptionMandatory(),
    )
    .addOption(rawOutput())
    .action(async (options: { file: string[] }) =>
      (await import('./commands/plan.ts')).plan(context(), options),
    );
  program
    .command('delete')
    .description('delete services, runtimes and the policy of the gateways')
    .argument('[what...]', '[KIND] NAME')
    .addOption(files('delete what these manifests describe'))
    .option('-w, --wait', 'wait until nothing is left of the services')
    .option('--timeout <duration>', 'how long to wait', '2m')
    .action(async (what: string[], options: { timeout: string }) =>
      (await import('./commands/delete.ts')).remove(context(), what, options),
    );
  program
    .command('stop')
    .description('stop the servers of a service and keep its spec')
    .argument('<name>')
    .action(async (name: string) => (await import('./commands/lifecycle.ts')).stop(context(), name));
  program
    .command('sleep')
    .description('stop the servers of a service until a request wakes it')
    .argument('<name>')
    .action(async (name: string) => (await import('./commands/lifecycle.ts')).sleep(context(), name));
  program
    .command('start')
    .description('start a service again that is stopped or asleep')
    .argument('<name>')
    .option('-w, --wait', 'wait until it is ready')
    .option('--timeout <duration>', 'how long to wait', '10m')
    .action(async (name: string, options: { timeout: string }) =>
      (await import('./commands/lifecycle.ts')).start(context(), name, options),
    );
}

function addReading(program: Command, context: Contextual): void {
  program.commandsGroup('Look:');
  program
    .command('get')
    .description('list services (isvc), runtimes or the policy of the gateways')
    .argument(
      '[what...]',
      '[KIND] [NAME], e.g. isvc iris; kinds: isvc, servingruntimes, clusterservingruntimes, gatewaypolicy',
    )
    .option('-o, --output <format>', 'json, yaml, wide or name')
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('-w, --watch', 'go on and print what changes')
    .action(async (what: string[], options: object) =>
      (await import('./commands/get.ts')).get(context(), what, options),
    );
  program
    .command('describe')
    .description('show conditions, model status, revisions and events of a service')
    .argument('<what...>', '[KIND] NAME')
    .addOption(rawOutput())
    .action(async (what: string[], options: object) =>
      (await import('./commands/describe.ts')).describe(context(), what, options),
    );
  program
    .command('history')
    .description('show what happened to each generation of a service')
    .argument('<name>')
    .addOption(rawOutput())
    .action(async (name: string, options: object) =>
      (await import('./commands/records.ts')).history(context(), name, options),
    );
  program
    .command('events')
    .description('show the events of a service')
    .argument('<name>')
    .addOption(rawOutput())
    .action(async (name: string, options: object) =>
      (await import('./commands/records.ts')).events(context(), name, options),
    );
  program
    .command('logs')
    .description('show what the model servers of a service wrote')
    .argument('<name>')
    .option('-f, --follow', 'go on as they write')
    .option('--tail <lines>', 'only the last lines')
    .action(async (name: string, options: object) =>
      (await import('./commands/logs.ts')).logs(context(), name, options),
    );
}

function addAsking(program: Command, context: Contextual): void {
  program.commandsGroup('Ask models:');
  program
    .command('infer')
    .description('send an inference request (V2 "inputs" or V1 "instances") and print the answer')
    .argument('<name>')
    .option('-d, --data <json>', 'the request')
    .option('-f, --file <file>', 'a file with the request, - for standard input')
    .action(async (name: string, options: object) =>
      (await import('./commands/infer.ts')).infer(context(), name, options),
    );
  program
    .command('chat')
    .description('chat with a language model')
    .argument('<name>')
    .argument('[prompt...]', 'one question; without it a conversation starts')
    .option('--system <text>', 'system message, empty for none', 'You are a helpful assistant.')
    .option('--max-tokens <n>', 'longest answer')
    .option('--temperature <t>', 'above 0 for varied answers', '0')
    .action(async (name: string, prompt: string[], options: { system: string }) =>
      (await import('./commands/chat.ts')).chat(context(), name, prompt, options),
    );
}

function addProcesses(program: Command, context: Contextual): void {
  program.commandsGroup('Run one process in the foreground:');
  const processes: Readonly<Record<ProcessName, string>> = {
    gateway: 'the fast path that answers inference requests',
    worker: 'workflows and their activities',
    observer: 'turns what nodes report into facts for workflows',
    agent: 'runs model servers on this node',
    api: 'the control API',
  };
  for (const [name, description] of Object.entries(processes)) {
    const command = program.command(name).description(description);
    if (name === 'gateway') addGatewayOptions(command);
    command.action(async (options: GatewayFlags) =>
      (await import('./commands/run-process.ts')).runProcess(context(), name as ProcessName, options),
    );
  }
  program.commandsGroup('More:');
  program
    .command('completion')
    .description('print a script that completes commands, options and names in your shell')
    .argument('<shell>', 'bash, zsh or fish')
    .action(async (shell: string) => {
      (await import('./completion.ts')).printScript(context(), shell);
    });
  program
    .command('version')
    .description('print the version')
    .action(async () => {
      (await import('./commands/version.ts')).version(context());
    });
}

function addGatewayOptions(command: Command): void {
  command
    .option('--routes <file>', 'serve from this routes file alone (JSON or YAML), without a control API')
    .option('--port <port>', 'HTTP port (MUSTER_GATEWAY_PORT, default: 8080)')
    .option('--grpc-port <port>', 'port of gRPC V2 (MUSTER_GRPC_PORT, default: 8081 where it is free)')
    .option('--host <address>', 'address to bind (MUSTER_HOST, default: 127.0.0.1)')
    .option('--processes <n>', 'processes that share the port (MUSTER_GATEWAY_PROCESSES, default: 1)');
}

const files = (description: string): Option => repeated('-f, --file <file>', description);
