import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../base/random.ts';
import { randomUuid, systemRandom } from './random.ts';

test('a UUID is of version 4 and variant 2, and the same for the same numbers', () => {
  for (let seed = 0; seed < 32; seed++) {
    const uuid = randomUuid(seededRandom(seed));
    assert.equal(uuid.length, 16);
    assert.equal(uuid[6]! >>> 4, 4);
    assert.equal(uuid[8]! >>> 6, 2);
    assert.deepEqual(randomUuid(seededRandom(seed)), uuid);
  }
});

test('the system never gives the same UUID twice', () => {
  const seen = new Set(Array.from({ length: 100 }, () => Buffer.from(randomUuid()).toString('hex')));
  assert.equal(seen.size, 100);
  assert.ok(systemRandom.u32() <= 0xffffffff);
});
