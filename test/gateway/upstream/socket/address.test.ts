import { describe, expect, test } from '@jest/globals';
import { parseAddress } from '../../../../gateway/upstream/socket/address.ts';

describe('an endpoint’s address', () => {
  test.each([
    [
      'http://10.0.0.1:8000',
      { isTls: false, host: '10.0.0.1', port: 8000, authority: '10.0.0.1:8000', serverName: '' },
    ],
    ['http://model', { isTls: false, host: 'model', port: 80, authority: 'model', serverName: 'model' }],
    [
      'https://model.ns.svc',
      { isTls: true, host: 'model.ns.svc', port: 443, authority: 'model.ns.svc', serverName: 'model.ns.svc' },
    ],
    ['https://[::1]:9443', { isTls: true, host: '::1', port: 9443, authority: '[::1]:9443', serverName: '' }],
    ['http://Model:80', { isTls: false, host: 'model', port: 80, authority: 'model', serverName: 'model' }],
  ])('%s is read', (address, read) => {
    expect(parseAddress(address)).toEqual(read);
  });
});
