import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FormatError } from '../base/errors.ts';
import { randomBelow, seededRandom } from '../base/random.ts';
import { bytesSource } from '../base/source.ts';
import { PageBitmap, popCount, trailingZeros } from './page-bitmap.ts';

const BITS = 70_000;

function makeBitmap(seed: number, density: number): { bitmap: PageBitmap; set: number[] } {
  const random = seededRandom(seed);
  const bytes = new Uint8Array(100 + Math.ceil(BITS / 8)).fill(0xff, 0, 100);
  const set: number[] = [];
  for (let pfn = 0; pfn < BITS; pfn++) {
    if (randomBelow(random, 100) >= density) continue;
    bytes[100 + (pfn >> 3)]! |= 1 << (pfn & 7);
    set.push(pfn);
  }
  return { bitmap: new PageBitmap(bytesSource(bytes), 100, BITS), set };
}

for (const density of [0, 1, 50, 99, 100]) {
  test(`ranks, bits and neighbours of a bitmap ${density} % full`, () => {
    const { bitmap, set } = makeBitmap(density + 1, density);
    assert.equal(bitmap.count(), set.length);
    const random = seededRandom(density);
    const probes = Array.from({ length: 500 }, () => randomBelow(random, BITS + 50));
    for (const pfn of [0, 1, 31, 32, 33, BITS - 1, BITS, BITS + 1, ...probes]) {
      assert.equal(bitmap.has(pfn), set.includes(pfn), `has ${pfn}`);
      assert.equal(bitmap.rank(pfn), set.filter((at) => at < pfn).length, `rank ${pfn}`);
      if (pfn < BITS) assert.equal(bitmap.next(pfn), set.find((at) => at >= pfn) ?? BITS, `next ${pfn}`);
    }
  });
}

test('padding behind the last bit does not count', () => {
  const bitmap = new PageBitmap(bytesSource(new Uint8Array(16).fill(0xff)), 0, 33);
  assert.equal(bitmap.count(), 33);
  assert.equal(bitmap.has(33), false);
  assert.equal(bitmap.word(1), 1);
  assert.equal(bitmap.word(2), 0);
  assert.equal(bitmap.next(33), 33);
});

test('a bitmap beyond the end of the file is refused at once', () => {
  assert.throws(() => new PageBitmap(bytesSource(new Uint8Array(16)), 8, 128), { code: 'TRUNCATED' });
  assert.throws(() => new PageBitmap(bytesSource(new Uint8Array(16)), 0, 2 ** 40), FormatError);
});

test('a bitmap of 1 TiB takes no more memory than its windows and directory', () => {
  // Every 2^15th page, made as it is read.
  const source = {
    name: 'made',
    size: 2 ** 25,
    read: 0,
    readInto(target: Uint8Array, offset: number) {
      target.fill(0);
      this.read += target.length;
      for (let at = (4096 - (offset % 4096)) % 4096; at < target.length; at += 4096) target[at] = 1;
      return target.length;
    },
  };
  const bitmap = new PageBitmap(source, 0, 2 ** 28);
  assert.equal(bitmap.rank(2 ** 15 * 100 + 1), 101);
  assert.ok(source.read < 2 ** 20, `${source.read} bytes read for a rank near the start`);
  assert.equal(bitmap.count(), 2 ** 13);
  assert.equal(bitmap.rank(2 ** 27), 2 ** 12);
});

test('bits of a word', () => {
  assert.deepEqual([0, 1, -1, 0x80000000, 0x55555555].map(popCount), [0, 1, 32, 1, 16]);
  assert.deepEqual([1, 8, -1, 0x80000000].map(trailingZeros), [0, 3, 0, 31]);
});

test('holes of a sparse file are passed over unread', () => {
  // Pages 5 and 2^39 − 1 of 2^40, in a file of 128 GiB that is read in two places.
  const islands = [
    { at: 0, byte: 1 << 5 },
    { at: 2 ** 36 - 1, byte: 0x80 },
  ];
  const source = {
    name: 'sparse',
    size: 2 ** 37,
    reads: 0,
    readInto(target: Uint8Array, offset: number) {
      this.reads++;
      target.fill(0);
      for (const { at, byte } of islands) if (at >= offset && at < offset + target.length) target[at - offset] = byte;
      return target.length;
    },
    dataFrom: (offset: number) => islands.find(({ at }) => at - (at % 4096) + 4096 > offset)?.at ?? 2 ** 37,
  };
  const bitmap = new PageBitmap(source, 0, 2 ** 40);
  assert.deepEqual([bitmap.next(0), bitmap.next(6), bitmap.next(2 ** 39)], [5, 2 ** 39 - 1, 2 ** 40]);
  assert.equal(bitmap.count(), 2);
  assert.deepEqual([bitmap.rank(2 ** 38), bitmap.rank(2 ** 39)], [1, 2]);
  assert.ok(source.reads < 3 * 2 ** 14, `${source.reads} reads`);
});
