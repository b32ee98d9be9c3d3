/** Comparing images: `assert.deepEqual` draws a difference of megabytes line by line, for minutes and in gigabytes. */

import assert from 'node:assert/strict';

/** Fails with the place of the first byte that differs. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what = 'the bytes'): void {
  if (Buffer.compare(actual, expected) === 0) return;
  assert.equal(actual.length, expected.length, `${what}: length`);
  const at = actual.findIndex((byte, i) => byte !== expected[i]);
  assert.fail(`${what} differ from 0x${at.toString(16)} on: ${actual[at]}, expected ${expected[at]}`);
}
