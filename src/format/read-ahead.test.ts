import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceError } from '../base/errors.ts';
import { randomBelow, seededRandom } from '../base/random.ts';
import { bytesSource } from '../base/source.ts';
import { readAhead } from './read-ahead.ts';

const BYTES = Uint8Array.from({ length: 2 ** 20 + 77 }, (_, i) => (i * 31) ^ (i >> 9));

function counted(): { reads: number; source: ReturnType<typeof bytesSource> } {
  const plain = bytesSource(BYTES);
  const count = {
    reads: 0,
    source: {
      ...plain,
      readInto(target: Uint8Array, offset: number) {
        count.reads++;
        return plain.readInto(target, offset);
      },
    },
  };
  return count;
}

test('any mix of reads gives the bytes of the source', () => {
  const random = seededRandom(4);
  const { source } = counted();
  const ahead = readAhead(source);
  let at = 0;
  for (let i = 0; i < 3000; i++) {
    if (i % 100 === 99) at = randomBelow(random, BYTES.length);
    const target = new Uint8Array(1 + randomBelow(random, 5000)).fill(0xee);
    const got = ahead.readInto(target, at);
    assert.equal(got, Math.max(0, Math.min(target.length, BYTES.length - at)));
    assert.ok(Buffer.compare(target.subarray(0, got), BYTES.subarray(at, at + got)) === 0);
    at += got === target.length ? got + randomBelow(random, 64) : 0;
  }
});

test('pages in order take a few large reads, single ones no more than they need', () => {
  const inOrder = counted();
  const ahead = readAhead(inOrder.source);
  for (let at = 0; at < 2 ** 20; at += 2048) ahead.readInto(new Uint8Array(2048), at);
  assert.ok(inOrder.reads < 12, `${inOrder.reads} reads`);
  const apart = counted();
  const single = readAhead(apart.source);
  for (let i = 0; i < 3; i++) single.readInto(new Uint8Array(4096), 2 ** 19 - i * 2 ** 16);
  assert.equal(apart.reads, 3);
});

test('a bad sector costs the reads that need it, and the window is not tried there again', () => {
  const bytes = new Uint8Array(2 ** 20).map((_, i) => (i >> 12) & 0xff);
  const [bad, windows] = [40 * 4096, [] as number[]];
  const source = {
    name: 'disk',
    size: bytes.length,
    readInto(target: Uint8Array, offset: number): number {
      if (target.length > 4096) windows.push(offset);
      if (offset <= bad && bad < offset + target.length)
        throw new DeviceError('DEVICE_READ', 'bad', { device: 'disk', operation: 'read', errno: 'EIO' });
      target.set(bytes.subarray(offset, offset + target.length));
      return target.length;
    },
  };
  const ahead = readAhead(source);
  const page = new Uint8Array(4096);
  for (let at = 0; at < bytes.length; at += 4096) {
    if (at === bad) {
      assert.throws(() => ahead.readInto(page, at), DeviceError);
      continue;
    }
    assert.equal(ahead.readInto(page, at), 4096);
    assert.equal(page[0], (at >> 12) & 0xff);
  }
  assert.equal(windows.filter((at) => at <= bad && bad < at + 2 ** 18).length, 1);
});
