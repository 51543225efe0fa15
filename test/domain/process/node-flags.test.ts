import { describe, expect, test } from '@jest/globals';
import { nodeFlagsFor } from '../../../domain/process/node-flags.ts';

const young = '--max-semi-space-size=8';

describe('the size of the young generation', () => {
  test('is ours for gateways alone', () => {
    expect(nodeFlagsFor('gateway')).toContain(young);
    expect(nodeFlagsFor('gateway', '--enable-source-maps --max-old-space-size=512')).toContain(young);
    expect(nodeFlagsFor('worker')).not.toContain(young);
  });

  test.each([
    '--max-semi-space-size=32',
    '--max_semi_space_size=32',
    '--enable-source-maps --max-semi-space-size 32',
    '--min-semi-space-size=16',
  ])("is the operator's who says %s in NODE_OPTIONS", (said) => {
    expect(nodeFlagsFor('gateway', said)).toEqual(['--disable-warning=ExperimentalWarning']);
  });
});
