/** A machine of 1 TiB of which 2^22 pages exist, in ranges far apart; any page can be made again from its pfn. */

import type { Range } from '../../src/base/ranges.ts';
import type { Machine } from '../../src/capture/machine.ts';

export const PAGE = 4096;
/** First pfn past 1 TiB. */
export const MAX_MAPNR = 2 ** 28;

/** How many pages exist. The environment may ask for fewer, for a quick look. */
export const STORED_PAGES = Number(process.env.MEMORY_PAGES ?? 2 ** 22);
const RANGES = 1024;
const RANGE_PAGES = STORED_PAGES / RANGES;
const STRIDE = MAX_MAPNR / RANGES;

/** The ranges lie at the ends of equal pieces, so that the last page is the last of the terabyte. */
export const BIG_RANGES: readonly Range[] = Array.from({ length: RANGES }, (_, i) => ({
  start: (i + 1) * STRIDE - RANGE_PAGES,
  end: (i + 1) * STRIDE,
}));

/** Pass 0: a page or two of every other range. */
export const BIG_ESSENTIAL: readonly Range[] = BIG_RANGES.filter((_, i) => i % 2 === 0).map(({ start }, i) => ({
  start: start + (i % 32),
  end: start + (i % 32) + 2,
}));

/** Three of four pages are zero, in runs of 192. */
export function isZeroPfn(pfn: number): boolean {
  return (pfn & 192) !== 0;
}

/** Writes page `pfn` into the 1024 words from `at` on. No two pages are equal but the zero ones. */
export function fillPage(words: Uint32Array, at: number, pfn: number): void {
  if (isZeroPfn(pfn)) {
    words.fill(0, at, at + 1024);
    return;
  }
  words.fill(Math.imul(pfn, 2654435761) | 1, at, at + 1024);
  words[at] = pfn;
  words[at + 1023] = ~pfn;
}

export function bigMachine(): Machine {
  return {
    name: 'synthetic:1TiB',
    kind: 'file',
    arch: 'x86_64',
    pageSize: PAGE,
    ranges: BIG_RANGES,
    notes: new Uint8Array(0),
    segments: [],
    read(pfn, target) {
      const words = new Uint32Array(target.buffer, target.byteOffset, target.length / 4);
      for (let at = 0; at < words.length; at += 1024, pfn++) fillPage(words, at, pfn);
    },
  };
}
