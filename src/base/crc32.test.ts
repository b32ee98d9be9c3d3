import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 as zlibCrc32 } from 'node:zlib';
import { crc32 } from './crc32.ts';
import { seededRandom } from './random.ts';

test('the check value of CRC-32 (IEEE)', () => {
  assert.equal(crc32(new TextEncoder().encode('123456789')), 0xcbf43926);
  assert.equal(crc32(new Uint8Array(0)), 0);
});

test('any length, any place, in one piece or two: the value of zlib', () => {
  const random = seededRandom(1);
  const bytes = Uint8Array.from({ length: 4200 }, () => random.u32() & 0xff);
  for (const length of [1, 7, 8, 9, 15, 16, 17, 511, 4096, 4190]) {
    for (let at = 0; at < 9; at++) {
      const part = bytes.subarray(at, at + length);
      assert.equal(crc32(part), zlibCrc32(part));
      const cut = length >> 1;
      assert.equal(crc32(part.subarray(cut), crc32(part.subarray(0, cut))), zlibCrc32(part));
    }
  }
});
