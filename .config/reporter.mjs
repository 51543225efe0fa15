import { appendFileSync } from 'node:fs';

/** Adds one JSON line a test file, of its counts and of what was left out, to the file named by MUSTER_TEST_TOTALS. */
export default class TotalsReporter {
  onRunComplete(_contexts, results) {
    const totals = process.env.MUSTER_TEST_TOTALS;
    if (!totals) return;
    for (const suite of results.testResults) {
      const left = suite.testResults.filter((t) => t.status === 'pending' || t.status === 'todo');
      const line = {
        file: suite.testFilePath,
        passed: suite.numPassingTests,
        failed: suite.numFailingTests + (suite.testExecError && suite.numFailingTests === 0 ? 1 : 0),
        skipped: left.map((t) => t.fullName),
        failures: suite.testResults.filter((t) => t.status === 'failed').map((t) => t.fullName),
      };
      appendFileSync(totals, `${JSON.stringify(line)}\n`);
    }
  }
}
