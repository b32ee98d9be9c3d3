import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { failsWith, scratchFolder } from '../../test/driver/scratch.ts';
import { randomBelow, seededRandom } from '../base/random.ts';
import { openMapped } from './vmcore-map.ts';

const SIZE = 11 * 65536 + 4097;
const content = new Uint8Array(SIZE);
const random = seededRandom(7);
for (let i = 0; i < SIZE; i++) content[i] = randomBelow(random, 256);
const file = join(scratchFolder(), 'vmcore');
writeFileSync(file, content);

for (const map of [true, false]) {
  describe(map ? 'mapped' : 'read', () => {
    const source = openMapped(file, { windowBytes: 2 * 65536, map });

    test('says how', () => {
      assert.equal(source.access, map ? 'mapped' : 'read');
      assert.equal(source.size, SIZE);
    });

    test('the whole of it at once, across windows', () => {
      const all = new Uint8Array(SIZE);
      assert.equal(source.readInto(all, 0), SIZE);
      assert.deepEqual(all, content);
    });

    test('any piece, in any order, is short only at the end', () => {
      for (let round = 0; round < 500; round++) {
        const offset = randomBelow(random, SIZE + 100);
        const length = randomBelow(random, round % 10 === 0 ? SIZE : 9000);
        const target = new Uint8Array(length).fill(0xaa);
        const expected = content.slice(offset, offset + length);
        assert.equal(source.readInto(target, offset), expected.length, `${length} at ${offset}`);
        assert.deepEqual(target.slice(0, expected.length), expected, `${length} at ${offset}`);
      }
    });

    test('is closed', () => source.close());
  });
}

test('what is not there cannot be opened', () => {
  failsWith(() => openMapped(join(scratchFolder(), 'absent')), { operation: 'open', errno: 'ENOENT' });
});

test('a file too small to be mapped is read', () => {
  const small = join(scratchFolder(), 'small');
  writeFileSync(small, 'abc');
  const source = openMapped(small);
  const target = new Uint8Array(8);
  assert.equal(source.access, 'read');
  assert.equal(source.readInto(target, 1), 2);
  assert.deepEqual([...target.subarray(0, 2)], [98, 99]);
  source.close();
});
