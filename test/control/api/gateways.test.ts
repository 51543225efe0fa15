import { expect, test } from '@jest/globals';
import { Gateways } from '../../../control/api/gateways.ts';

test('a gateway that was gone for long is a new one; one that only reconnects is not', () => {
  let now = 0;
  const gateways = new Gateways(() => now, false);
  const connectedAt = (at: string) => {
    const close = gateways.connect('g', at);
    const [gateway] = gateways.list().gateways;
    close();
    return gateway?.connectedAt;
  };
  expect(connectedAt('first')).toBe('first');
  now += 9_000;
  expect(connectedAt('again')).toBe('first');
  now += 11_000;
  expect(connectedAt('later')).toBe('later');
});
