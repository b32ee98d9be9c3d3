import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareReleases, parseKernelPackage } from './kernels.ts';

test('kernel packages are told from meta-packages, debug symbols, unsigned and real-time kernels', () => {
  const offered = [
    'linux-image-amd64',
    'linux-image-6.12-cloud-amd64',
    'linux-image-6.1.0-56-cloud-amd64',
    'linux-image-6.1.0-56-cloud-amd64-dbg',
    'linux-image-6.1.0-56-cloud-amd64-unsigned',
    'linux-image-6.1.0-56-amd64',
    'linux-image-6.1.0-56-rt-amd64',
    'linux-image-6.12.117+deb12-cloud-amd64',
    'linux-image-6.8.0-45-generic',
    'linux-image-generic',
    'linux-image-6.8.0-45-lowlatency',
  ];
  const parsed = offered.map(parseKernelPackage).filter((kernel) => kernel !== undefined);
  assert.deepEqual(
    parsed.map(({ release, series, flavour }) => [release, series, flavour]),
    [
      ['6.1.0-56-cloud-amd64', '6.1', 'cloud'],
      ['6.1.0-56-amd64', '6.1', 'generic'],
      ['6.12.117+deb12-cloud-amd64', '6.12', 'cloud'],
      ['6.8.0-45-generic', '6.8', 'generic'],
    ],
  );
});

test('releases are ordered newest first, by number', () => {
  const releases = ['6.12.99+deb12-amd64', '6.1.0-56-amd64', '6.12.117+deb12-amd64', '6.1.0-9-amd64'];
  assert.deepEqual(releases.sort(compareReleases), [
    '6.12.117+deb12-amd64',
    '6.12.99+deb12-amd64',
    '6.1.0-56-amd64',
    '6.1.0-9-amd64',
  ]);
});
