import { expect, test } from '@jest/globals';
import { isLoopback, peerCertificate } from '../../../gateway/front/peer.ts';

test.each<[string, object, string | undefined, string, readonly string[]]>([
  ['nothing', {}, undefined, '', []],
  ['a common name', { CN: 'alice' }, undefined, 'alice', []],
  ['two common names', { CN: ['alice', 'root'] }, undefined, '', []],
  [
    'several names',
    {},
    'DNS:a.example, URI:spiffe://muster/ns/a, email:a@b.example',
    '',
    ['DNS:a.example', 'URI:spiffe://muster/ns/a', 'email:a@b.example'],
  ],
  [
    'a name that would look like two',
    {},
    'URI:"spiffe://a, DNS:root.example", DNS:b.example',
    '',
    ['URI:spiffe://a, DNS:root.example', 'DNS:b.example'],
  ],
])('a certificate with %s', (_name, subject, altNames, commonName, names) => {
  expect(peerCertificate(subject, altNames, 'AB:CD')).toEqual({ commonName, names, fingerprint: 'AB:CD' });
});

test.each([
  ['127.0.0.1', true],
  ['127.8.8.8', true],
  ['::1', true],
  ['::ffff:127.0.0.1', true],
  ['10.0.0.1', false],
  ['::ffff:10.0.0.1', false],
  ['::12', false],
  [undefined, false],
])('%s is this machine: %p', (address, isLocal) => {
  expect(isLoopback(address)).toBe(isLocal);
});
