import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../base/crc32.ts';
import { FormatError } from '../base/errors.ts';
import { seededRandom } from '../base/random.ts';
import { nodeCodecs, nodeCrc32 } from './codecs.ts';

const random = seededRandom(7);
const PAGES: Readonly<Record<string, Uint8Array>> = {
  zeros: new Uint8Array(4096),
  text: new TextEncoder().encode('a crash dump is a still life of a machine. '.repeat(96).slice(0, 4096)),
  records: Uint8Array.from({ length: 4096 }, (_, i) => (i % 16 === 0 ? random.u32() & 0xff : i % 16)),
  random: Uint8Array.from({ length: 4096 }, () => random.u32() & 0xff),
  large: Uint8Array.from({ length: 65536 }, (_, i) => (i >> 8) & 0xff),
};

for (const engines of [true, false]) {
  for (const codec of nodeCodecs(engines).values()) {
    const how = engines ? 'kept stream' : 'public calls';

    test(`${codec.name}, ${how}: what was compressed is restored`, () => {
      for (const [name, page] of Object.entries(PAGES)) {
        const target = new Uint8Array(page.length);
        const length = codec.compress(page, target);
        if (name === 'random') {
          assert.equal(length, 0, 'random bytes do not shrink');
          continue;
        }
        assert.ok(length > 0 && length < page.length, `${name}: ${length} bytes`);
        const restored = new Uint8Array(page.length);
        codec.decompress(target.subarray(0, length), restored);
        assert.deepEqual(restored, page, name);
      }
    });

    test(`${codec.name}, ${how}: any damage is a FormatError or the same page, never an overrun`, () => {
      const page = PAGES.records as Uint8Array;
      const target = new Uint8Array(page.length);
      const length = codec.compress(page, target);
      const stored = target.slice(0, length);
      const expectError = (bytes: Uint8Array, size: number): void => {
        assert.throws(() => codec.decompress(bytes, new Uint8Array(size)), FormatError);
      };
      expectError(stored.subarray(0, length >> 1), 4096);
      expectError(stored, 2048);
      expectError(stored, 8192);
      expectError(new Uint8Array(0), 4096);
      for (let i = 0; i < 200; i++) {
        const broken = stored.slice();
        const at = random.u32() % length;
        broken[at] = broken[at]! ^ (1 << (i & 7));
        const out = new Uint8Array(4096 + 16);
        try {
          codec.decompress(broken, out.subarray(0, 4096));
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error));
        }
        assert.ok(out.subarray(4096).every((byte) => byte === 0));
      }
      const whole = new Uint8Array(4096);
      codec.decompress(stored, whole);
      assert.deepEqual(whole, page, 'errors leave no trace in a kept stream');
    });
  }
}

test('both ways store the same bytes', () => {
  for (const [flag, codec] of nodeCodecs(true)) {
    const other = nodeCodecs(false).get(flag);
    for (const page of Object.values(PAGES)) {
      const [a, b] = [new Uint8Array(page.length), new Uint8Array(page.length)];
      const length = codec.compress(page, a);
      assert.equal(length, other?.compress(page, b));
      if (length > 0) assert.deepEqual(a.subarray(0, length), b.subarray(0, length));
    }
  }
});

test('the checksum of Node is the portable one', () => {
  for (const page of Object.values(PAGES)) assert.equal(nodeCrc32(page), crc32(page));
  const page = PAGES.random as Uint8Array;
  assert.equal(nodeCrc32(page.subarray(9), nodeCrc32(page.subarray(0, 9))), crc32(page));
});
