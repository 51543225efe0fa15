// Runs before each test file: says which process runs it, for the watchdog.
import { expect } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.env.MUSTER_TEST_WORKERS;
if (folder) writeFileSync(join(folder, String(process.pid)), expect.getState().testPath);
