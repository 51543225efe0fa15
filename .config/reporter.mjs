import { appendFileSync } from 'node:fs';

/** Adds one JSON line of totals, and of what was left out and why, to the file named by MUSTER_TEST_TOTALS. */
export default class TotalsReporter {
  onRunComplete(_contexts, results) {
    const file = process.env.MUSTER_TEST_TOTALS;
    if (!file) return;
    const skipped = results.testResults.flatMap((suite) =>
      suite.testResults.filter((t) => t.status === 'pending' || t.status === 'todo').map((t) => t.fullName),
    );
    const broken = results.numRuntimeErrorTestSuites;
    appendFileSync(
      file,
      JSON.stringify({ passed: results.numPassedTests, failed: results.numFailedTests + broken, skipped }) +
        '\n',
    );
  }
}
