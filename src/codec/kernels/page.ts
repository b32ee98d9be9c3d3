/**
 * Page kernels in AssemblyScript: the zero test and CRC-32 over batches of pages.
 *
 * The caller owns memory and its layout (`page-kernels.ts`) and hands in addresses; nothing is allocated here. Built with and without
 * SIMD (`build.json`); both give the same values.
 */

/** Tables for eight bytes a step: 8 × 256 words. */
const SLICES: i32 = 8;
/** CRC-32 (IEEE 802.3), reflected. */
const POLYNOMIAL: u32 = 0xedb88320;

/** Fills the 8 KiB at `tables` for {@link crcPages}. */
export function makeTables(tables: usize): void {
  for (let n: u32 = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    store<u32>(tables + (<usize>n << 2), crc);
  }
  for (let slice = 1; slice < SLICES; slice++) {
    for (let n: u32 = 0; n < 256; n++) {
      const crc = load<u32>(tables + (<usize>(slice - 1) << 10) + (<usize>n << 2));
      store<u32>(tables + (<usize>slice << 10) + (<usize>n << 2), (crc >>> 8) ^ load<u32>(tables + ((<usize>crc & 0xff) << 2)));
    }
  }
}

/**
 * For each of `count` pages from `at` on, one byte at `out`: 1 where the page is nothing but zeros, else 0.
 * `pageSize` is a multiple of 64. Returns how many are zero.
 */
export function zeroPages(at: usize, pageSize: usize, count: usize, out: usize): u32 {
  let zeros: u32 = 0;
  for (let page: usize = 0; page < count; page++) {
    const zero = isZero(at + page * pageSize, pageSize);
    store<u8>(out + page, zero);
    zeros += zero;
  }
  return zeros;
}

/** Leaves at the first 64 bytes that hold something. */
function isZero(start: usize, length: usize): u32 {
  const end = start + length;
  if (ASC_FEATURE_SIMD) {
    for (let at = start; at < end; at += 64) {
      const low = v128.or(v128.load(at), v128.load(at, 16));
      const high = v128.or(v128.load(at, 32), v128.load(at, 48));
      if (v128.any_true(v128.or(low, high))) return 0;
    }
  } else {
    for (let at = start; at < end; at += 64) {
      const low = load<u64>(at) | load<u64>(at, 8) | load<u64>(at, 16) | load<u64>(at, 24);
      const high = load<u64>(at, 32) | load<u64>(at, 40) | load<u64>(at, 48) | load<u64>(at, 56);
      if ((low | high) !== 0) return 0;
    }
  }
  return 1;
}

/**
 * For each of `count` pages from `at` on, its CRC-32 as a word at `out`. `pageSize` is a multiple of 8.
 *
 * Three pages go side by side: one CRC waits for its table, the processor works on the others. Wasm has no carry-less
 * multiplication, with which native code folds 64 bytes at once, so SIMD does not help here.
 */
export function crcPages(tables: usize, at: usize, pageSize: usize, count: usize, out: usize): void {
  let page: usize = 0;
  for (; page + 3 <= count; page += 3) {
    crcThree(tables, at + page * pageSize, pageSize, out + (page << 2));
  }
  for (; page < count; page++) {
    store<u32>(out + (page << 2), crcOne(tables, at + page * pageSize, pageSize));
  }
}

function crcThree(tables: usize, at: usize, pageSize: usize, out: usize): void {
  let a: u64 = 0xffffffff;
  let b: u64 = 0xffffffff;
  let c: u64 = 0xffffffff;
  const end = at + pageSize;
  for (; at < end; at += 8) {
    a = step(tables, load<u64>(at) ^ a);
    b = step(tables, load<u64>(at + pageSize) ^ b);
    c = step(tables, load<u64>(at + 2 * pageSize) ^ c);
  }
  store<u32>(out, ~(<u32>a));
  store<u32>(out, ~(<u32>b), 4);
  store<u32>(out, ~(<u32>c), 8);
}

function crcOne(tables: usize, at: usize, pageSize: usize): u32 {
  let crc: u64 = 0xffffffff;
  const end = at + pageSize;
  for (; at < end; at += 8) crc = step(tables, load<u64>(at) ^ crc);
  return ~(<u32>crc);
}

/** Eight bytes, xor'ed with the CRC so far, to the next CRC. */
// @ts-ignore: decorator
@inline
function step(tables: usize, x: u64): u64 {
  return (
    load<u32>(tables + 7 * 1024 + (<usize>(x & 0xff) << 2)) ^
    load<u32>(tables + 6 * 1024 + (<usize>((x >>> 8) & 0xff) << 2)) ^
    load<u32>(tables + 5 * 1024 + (<usize>((x >>> 16) & 0xff) << 2)) ^
    load<u32>(tables + 4 * 1024 + (<usize>((x >>> 24) & 0xff) << 2)) ^
    load<u32>(tables + 3 * 1024 + (<usize>((x >>> 32) & 0xff) << 2)) ^
    load<u32>(tables + 2 * 1024 + (<usize>((x >>> 40) & 0xff) << 2)) ^
    load<u32>(tables + 1 * 1024 + (<usize>((x >>> 48) & 0xff) << 2)) ^
    load<u32>(tables + (<usize>(x >>> 56) << 2))
  );
}
