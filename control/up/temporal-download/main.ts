import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { messageOf } from '../../../domain/errors.ts';

/**
 * Lets Temporal's SDK download its dev server into the folder given, and prints the file's path. The SDK offers
 * the download only together with a start, so a server is started for a moment. A process of its own, because
 * the SDK's native part stays in the memory of who has loaded it.
 */
try {
  console.log(await download(process.argv[2] ?? ''));
} catch (error) {
  // One line: it becomes part of the message that lists what was tried.
  console.error(messageOf(error).replaceAll('\n', ' '));
  process.exitCode = 1;
}

async function download(folder: string): Promise<string> {
  const environment = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'cached-download', downloadDir: folder, version: 'default', ttl: '30 days' },
    },
  });
  await environment.teardown();
  const file = readdirSync(folder)
    .map((name) => join(folder, name))
    .find((path) => statSync(path).isFile() && (statSync(path).mode & 0o100) !== 0);
  if (file === undefined) throw new Error(`The SDK left no program in ${folder}.`);
  return file;
}
