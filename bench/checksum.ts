/**
 * Which checksum for a page: time per 4 KiB page of every candidate, in one run.
 *
 *     node bench/checksum.ts
 *
 * Candidates of CRC-32 (IEEE): Node's zlib, the portable TypeScript, the wasm kernels with and without SIMD. Beside them
 * CRC-32C (Castagnoli) by table in TypeScript, which no runtime of ours has natively. All run over the same 256 pages, taking
 * turns; printed is the median of the rounds, so a disturbed round does not count.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 as zlibCrc32 } from 'node:zlib';
import { crc32 } from '../src/base/crc32.ts';
import { seededRandom } from '../src/base/random.ts';
import { openPageKernels, type PageKernels } from '../src/codec/page-kernels.ts';
import { isZeroPage } from '../src/codec/zero.ts';
import { ensureBuilt, ROOT } from '../tools/build.ts';

const PAGE = 4096;
const PAGES = 256;
const ROUNDS = 101;
const WARM_UP = 40;

interface Candidate {
  readonly name: string;
  /** One pass over all pages. */
  readonly run: () => number;
}

await ensureBuilt();
const simd = readFileSync(join(ROOT, 'dist', 'kernels', 'page.wasm'));
const plain = readFileSync(join(ROOT, 'dist', 'kernels', 'page-nosimd.wasm'));
const plan = { pageSize: PAGE, pagesMax: PAGES };
const kernels = [openPageKernels({ simd }, plan), openPageKernels({ plain }, plan)];
const pages = kernels[0]!.pages;
fillWithNoise(pages);
kernels[1]!.pages.set(pages);
const views = Array.from({ length: PAGES }, (_, i) => pages.subarray(i * PAGE, (i + 1) * PAGE));

console.log('checksum of a page that holds something:');
report([
  { name: 'CRC-32   zlib.crc32 (native)', run: () => eachPage(zlibCrc32) },
  { name: 'CRC-32   TypeScript, 8 bytes a step', run: () => eachPage(crc32) },
  ...kernels.map((batch) => ({ name: `CRC-32   AssemblyScript, ${batch.name}`, run: () => checksumBatch(batch) })),
  { name: 'CRC-32C  TypeScript, 8 bytes a step', run: makeCrc32c() },
]);

console.log('\nzero test of a page that holds nothing:');
const zeros = [openPageKernels({ simd }, plan), openPageKernels({ plain }, plan)];
report([
  {
    name: 'TypeScript, by 32-bit word',
    run: () => {
      let count = 0;
      for (let i = 0; i < PAGES; i++) count += isZeroPage(zeros[0]!.pages, i * PAGE, PAGE) ? 1 : 0;
      return count;
    },
  },
  ...zeros.map((batch) => ({ name: `AssemblyScript, ${batch.name}`, run: () => batch.findZeros(PAGES) })),
]);

function eachPage(crc: (bytes: Uint8Array) => number): number {
  let sum = 0;
  for (const view of views) sum ^= crc(view);
  return sum;
}

function checksumBatch(batch: PageKernels): number {
  batch.computeChecksums(PAGES);
  return batch.checksums.reduce((sum, crc) => sum ^ crc, 0);
}

/** The portable code's algorithm with the polynomial of Castagnoli. */
function makeCrc32c(): () => number {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    tables[0]![n] = crc;
  }
  for (let slice = 1; slice < 8; slice++) {
    for (let n = 0; n < 256; n++) {
      const crc = tables[slice - 1]![n]!;
      tables[slice]![n] = (crc >>> 8) ^ tables[0]![crc & 0xff]!;
    }
  }
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  const crc32c = (bytes: Uint8Array): number => {
    let crc = ~0;
    for (let i = 0; i < bytes.length; i += 8) {
      crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
      crc =
        t7[crc & 0xff]! ^
        t6[(crc >>> 8) & 0xff]! ^
        t5[(crc >>> 16) & 0xff]! ^
        t4[crc >>> 24]! ^
        t3[bytes[i + 4]!]! ^
        t2[bytes[i + 5]!]! ^
        t1[bytes[i + 6]!]! ^
        t0[bytes[i + 7]!]!;
    }
    return ~crc >>> 0;
  };
  return () => eachPage(crc32c);
}

/** Runs the candidates in turn and prints medians; ratios are to the first. */
function report(candidates: readonly Candidate[]): void {
  const times = candidates.map(() => [] as number[]);
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    candidates.forEach(({ run }, i) => {
      const start = process.hrtime.bigint();
      run();
      if (round >= 0) times[i]!.push(Number(process.hrtime.bigint() - start));
    });
  }
  const medians = times.map((list) => list.sort((a, b) => a - b)[ROUNDS >> 1]! / PAGES);
  candidates.forEach(({ name }, i) => {
    const nsPerPage = medians[i]!;
    const gigabytes = (PAGE / nsPerPage).toFixed(2);
    const ratio = (medians[0]! / nsPerPage).toFixed(2);
    console.log(
      `  ${name.padEnd(38)} ${nsPerPage.toFixed(0).padStart(6)} ns/page  ${gigabytes.padStart(6)} GB/s  × ${ratio}`,
    );
  });
}

function fillWithNoise(bytes: Uint8Array): void {
  const random = seededRandom(1);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random.u32() & 0xff;
}
