import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { ensureBuilt, ROOT } from '../../tools/build.ts';
import { crc32 } from '../base/crc32.ts';
import { seededRandom } from '../base/random.ts';
import { type KernelBinaries, openPageKernels, type PageKernels } from './page-kernels.ts';
import { isZeroPage } from './zero.ts';

const PAGES_MAX = 37;

let simd: Uint8Array;
let plain: Uint8Array;

before(async () => {
  await ensureBuilt();
  simd = readFileSync(join(ROOT, 'dist', 'kernels', 'page.wasm'));
  plain = readFileSync(join(ROOT, 'dist', 'kernels', 'page-nosimd.wasm'));
});

/** Pages of zeros, of noise, and of one byte at each place that a step could miss. */
function fill(kernels: PageKernels, pageSize: number): void {
  const random = seededRandom(pageSize);
  for (let i = 0; i < PAGES_MAX; i++) {
    const page = kernels.pages.subarray(i * pageSize, (i + 1) * pageSize).fill(0);
    if (i % 3 === 0) page[[0, 7, 8, 63, 64, pageSize - 1, 100 + i][i % 7] as number] = 1 + i;
    if (i % 5 === 0) for (let at = 0; at < pageSize; at++) page[at] = random.u32() & 0xff;
  }
}

for (const pageSize of [4096, 16384, 65536, 64]) {
  test(`every build gives the values of the portable code, pages of ${pageSize}`, () => {
    const plan = { pageSize, pagesMax: PAGES_MAX };
    const builds: [string, KernelBinaries][] = [
      ['simd', { simd, plain }],
      ['wasm', { plain }],
      ['plain', {}],
    ];
    for (const [name, binaries] of builds) {
      const kernels = openPageKernels(binaries, plan);
      assert.equal(kernels.name, name);
      fill(kernels, pageSize);
      for (const count of [PAGES_MAX, 0, 1, 2, 4]) {
        kernels.zero.fill(7);
        kernels.checksums.fill(7);
        const zeros = kernels.findZeros(count);
        kernels.computeChecksums(count);
        let expected = 0;
        for (let i = 0; i < count; i++) {
          const page = kernels.pages.slice(i * pageSize, (i + 1) * pageSize);
          const zero = page.every((byte) => byte === 0);
          expected += zero ? 1 : 0;
          assert.equal(kernels.zero[i], zero ? 1 : 0, `${name}: zero test of page ${i}`);
          assert.equal(isZeroPage(kernels.pages, i * pageSize, pageSize), zero);
          assert.equal(kernels.checksums[i], crc32(page), `${name}: checksum of page ${i}`);
        }
        assert.equal(zeros, expected);
        if (count < PAGES_MAX) assert.deepEqual([kernels.zero[count], kernels.checksums[count]], [7, 7]);
      }
    }
  });
}

test('a batch lies where direct I/O can read into it', () => {
  const { pages } = openPageKernels({ simd, plain }, { pageSize: 4096, pagesMax: 256 });
  assert.equal(pages.byteOffset % 65536, 0);
  assert.equal(pages.length, 2 ** 20);
});

test('a binary that does not compile gives way to the next', () => {
  const broken = Uint8Array.from(simd);
  broken.fill(0xff, 40);
  assert.equal(openPageKernels({ simd: broken, plain }, { pageSize: 4096, pagesMax: 1 }).name, 'wasm');
  assert.equal(openPageKernels({ simd: broken, plain: broken }, { pageSize: 4096, pagesMax: 1 }).name, 'plain');
});

test('the zero test of odd places', () => {
  const bytes = new Uint8Array(300);
  bytes[0] = 1;
  assert.equal(isZeroPage(bytes, 1, 299), true);
  assert.equal(isZeroPage(bytes, 4, 296), true);
  for (const at of [4, 5, 19, 20, 63, 298, 299]) {
    bytes[at] = 1;
    assert.equal(isZeroPage(bytes, 4, 296), false, `byte ${at}`);
    assert.equal(isZeroPage(bytes, 1, 299), false, `byte ${at}`);
    bytes[at] = 0;
  }
});
