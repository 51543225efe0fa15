import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { startApi } from '../../fixtures/control/api-harness.ts';
import type { ApiHarness } from '../../fixtures/control/api-harness.ts';
import { hasPython } from '../../fixtures/environments.ts';
import { requirePart } from '../../fixtures/require.ts';
import { fuzzOpenApi } from '../../fixtures/schemathesis.ts';

const test = requirePart('python3 with venv', hasPython(), 'schemathesis needs it');

describe('the control API', () => {
  let api: ApiHarness;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(async () => {
    await api.close();
  });

  test('answers whatever fits its OpenAPI, and what does not, as its OpenAPI says', async () => {
    const found = await fuzzOpenApi(api.url, {
      header: `Authorization: Bearer ${api.token}`,
      exclude: '^/internal|watch|stream',
      examples: 8,
      // To cover each of the 1,500 leaves of an InferenceService takes minutes.
      phases: 'fuzzing',
    });
    expect(found).toBeNull();
  }, 300_000);
});
