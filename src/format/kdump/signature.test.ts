import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from '../../base/crc32.ts';
import { parseUuid } from '../../base/hex.ts';
import { fillSignature, matchSignature, planSignatureBlocks, signatureNumber } from './signature.ts';

/** spec/formats.md §1.2: number, words 2..7, word 1023, CRC-32 of the block. */
const VECTORS = [
  [0, [0, 0x4d, 0x39c, 0x2801, 0x1b858, 0x12ec15], 0xe658d205, 0x381c2db4],
  [1, [1, 0x58, 0x415, 0x2d34, 0x1f189, 0x156130], 0xfd9ce000, 0xb91cd3b7],
  [2, [2, 0x63, 0x48e, 0x3267, 0x22aba, 0x17d64b], 0x14e0edfb, 0x6bb806da],
  [3, [3, 0x6e, 0x507, 0x379a, 0x263eb, 0x1a4b66], 0x2c24fbf6, 0xf053207a],
  [1000, [0x3e8, 0x2b45, 0x1dc44, 0x147739, 0xe11fc0, 0x9ac5d8d], 0xc82f6e7d, 0x0ca56a83],
  [74565, [0x12345, 0xc8444, 0x89af39, 0x5ea87c0, 0x4113d58d, 0xcbda2d5c], 0x8794e7ac, 0xd1ab6d0b],
] as const;

test('signature blocks equal the vectors of the kernels', () => {
  for (const [n, words, last, crc] of VECTORS) {
    const block = new Uint8Array(4096);
    fillSignature(block, n);
    const view = new DataView(block.buffer);
    assert.equal(String.fromCharCode(...block.subarray(0, 8)), 'diskdump');
    assert.deepEqual(
      words.map((_, i) => view.getUint32(8 + 4 * i, true)),
      [...words],
    );
    assert.equal(view.getUint32(4092, true), last);
    assert.equal(crc32(block), crc);
    assert.equal(matchSignature(block, n), 7);
    assert.equal(matchSignature(block, n + 1), undefined);
  }
});

test('both constants are told apart, and one flipped bit is seen', () => {
  const block = new Uint8Array(4096);
  fillSignature(block, 5, 3);
  assert.equal(matchSignature(block, 5), 3);
  for (const at of [0, 7, 8, 12, 2000, 4095]) {
    block[at]! ^= 1;
    assert.equal(matchSignature(block, 5), undefined, `byte ${at}`);
    block[at]! ^= 1;
  }
});

test('block numbers wrap at 2^32', () => {
  assert.equal(signatureNumber(2 ** 44 + 4096), 1);
});

test('positions: distinct, ascending, first and last, never the third label', () => {
  const uuid = parseUuid('00112233-4455-6677-8899-aabbccddeeff')!;
  for (const capacity of [2 ** 20, 128e9 - (128e9 % 65536), 2 ** 46]) {
    for (const sampleRate of [1, 2, 8]) {
      const blocks = [...planSignatureBlocks(uuid, capacity, sampleRate)];
      const total = capacity / 4096;
      assert.equal(blocks.length, Math.min(2 ** sampleRate, total - 2));
      assert.equal(blocks[0], 0);
      assert.equal(blocks.at(-1), total - 1);
      blocks.forEach((block, i) => {
        assert.ok(block !== 2 && block !== 3);
        assert.ok(i === 0 || block > blocks[i - 1]!);
      });
    }
  }
});

test('positions are a function of the UUID alone, frozen', () => {
  const uuid = parseUuid('00112233-4455-6677-8899-aabbccddeeff')!;
  assert.deepEqual([...planSignatureBlocks(uuid, 2 ** 30, 3)], FROZEN_POSITIONS);
});

test('all blocks where the sample is no smaller', () => {
  const all = [...planSignatureBlocks(new Uint8Array(16), 65536 * 5, 0)];
  assert.deepEqual(all.slice(0, 4), [0, 1, 4, 5]);
  assert.equal(all.length, 78);
  assert.deepEqual([...planSignatureBlocks(new Uint8Array(16), 65536 * 5, 8)], all);
});

const FROZEN_POSITIONS = [0, 66126, 156944, 183572, 191654, 194677, 210663, 262143];
