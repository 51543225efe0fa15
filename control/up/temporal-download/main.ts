import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';

/**
 * Lets Temporal's SDK download its dev server into the folder given, and prints the file's path. The SDK offers
 * the download only together with a start, so a server is started for a moment. A process of its own, because
 * the SDK's native part stays in the memory of who has loaded it.
 */
const folder = process.argv[2];
if (folder === undefined) throw new Error('The folder to download to is missing.');
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
console.log(file);
