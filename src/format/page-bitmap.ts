/** A page bitmap in a file: one bit a pfn, least significant first, read through windows, with ranks. */

import { roundDown } from '../base/cursor.ts';
import { FormatError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import type { ByteSource } from '../base/source.ts';
import { TableWindows } from './windows.ts';

/** Bytes of a window: the bits of 32,768 pages. */
const WINDOW_BYTES = 4096;
const WINDOW_WORDS = WINDOW_BYTES / 4;
const WINDOWS_MAX = 8;
/** Entries of the rank directory; 16 TiB of memory in 4 KiB pages fill it with one entry for each 32 KiB of bitmap. */
const DIRECTORY_MAX = 2 ** 14;

/**
 * Bits of a bitmap by pfn, and how many are set before one.
 *
 * Ranks come from a directory of cumulative counts that grows as far as it was asked: the first rank near the end of a
 * 1 TiB machine reads 32 MiB once, later ones count the bits of one directory entry, and ascending ones only the bits since the
 * last.
 */
export class PageBitmap {
  /** Bits that count: what lies beyond is padding. */
  readonly bitCount: number;
  readonly #windows: TableWindows;
  readonly #wordCount: number;
  /** Words between two entries of the directory: whole windows. */
  readonly #step: number;
  /** Set bits before each step, known up to `#known`. */
  readonly #directory: Float64Array;
  #known = 0;
  /** The last rank: set bits before word `#lastWord`. */
  #lastWord = 0;
  #lastRank = 0;

  /** @throws FormatError `TRUNCATED` where the source ends inside the bitmap. */
  constructor(source: ByteSource, offset: number, bitCount: number) {
    const length = Math.ceil(bitCount / 8);
    if (offset + length > source.size) {
      throw new FormatError(
        'TRUNCATED',
        `page bitmap of ${source.name}: ${length} bytes at offset ${hex(offset)}, the file has ${source.size} bytes`,
        { offset, length, size: source.size },
        'the file was cut before its page tables ended; nothing in it can be found',
      );
    }
    this.bitCount = bitCount;
    this.#windows = new TableWindows(source, { offset, length, windowBytes: WINDOW_BYTES, windowsMax: WINDOWS_MAX });
    this.#wordCount = Math.ceil(bitCount / 32);
    const windows = Math.ceil(this.#wordCount / WINDOW_WORDS);
    this.#step = WINDOW_WORDS * Math.max(1, Math.ceil(windows / DIRECTORY_MAX));
    this.#directory = new Float64Array(Math.ceil(this.#wordCount / this.#step) + 1);
  }

  /** Words of 32 bits that cover `bitCount`. */
  get wordCount(): number {
    return this.#wordCount;
  }

  has(pfn: number): boolean {
    return pfn < this.bitCount && ((this.word(Math.floor(pfn / 32)) >>> (pfn & 31)) & 1) === 1;
  }

  /** Bits 32·index … 32·index + 31 as a signed or unsigned word; those from `bitCount` on are 0. */
  word(index: number): number {
    if (index >= this.#wordCount) return 0;
    const window = this.#windows.load(Math.floor(index / WINDOW_WORDS));
    const word = window.words[index % WINDOW_WORDS]!;
    const beyond = 32 * (index + 1) - this.bitCount;
    return beyond > 0 ? word & (0xffffffff >>> beyond) : word;
  }

  /** Set bits below `pfn`. */
  rank(pfn: number): number {
    const word = Math.floor(Math.min(pfn, this.bitCount) / 32);
    const bits = pfn >= this.bitCount ? this.bitCount & 31 : pfn & 31;
    const before = this.#rankOfWord(word);
    return bits === 0 ? before : before + popCount(this.word(word) & (2 ** bits - 1));
  }

  /** All set bits. Reads the whole bitmap once. */
  count(): number {
    return this.rank(this.bitCount);
  }

  /** The first set bit at or after `pfn`, or `bitCount`. */
  next(pfn: number): number {
    const index = Math.floor(pfn / 32);
    const first = this.word(index) & (-1 << (pfn & 31));
    if (first !== 0) return 32 * index + trailingZeros(first);
    const next = this.nextWord(index + 1);
    return next < this.#wordCount ? 32 * next + trailingZeros(this.word(next)) : this.bitCount;
  }

  /** Index of the first word at or after `index` that has a set bit, or `end`. Holes of the file cost nothing. */
  nextWord(index: number, end = this.#wordCount): number {
    for (let at = index; at < end; ) {
      const number = Math.floor(at / WINDOW_WORDS);
      const base = number * WINDOW_WORDS;
      const { words } = this.#windows.load(number);
      let i = at - base;
      while (i < WINDOW_WORDS && words[i] === 0) i++;
      // The last word may have padding set, and nothing else.
      if (i < WINDOW_WORDS && this.word(base + i) !== 0) return Math.min(base + i, end);
      at = at === base ? WINDOW_WORDS * this.#windows.dataFrom(number + 1) : base + WINDOW_WORDS;
    }
    return end;
  }

  #rankOfWord(word: number): number {
    const entry = Math.floor(word / this.#step);
    let at = entry * this.#step;
    let rank = this.#entry(entry);
    if (this.#lastWord > at && this.#lastWord <= word) {
      at = this.#lastWord;
      rank = this.#lastRank;
    }
    for (; at < word; at++) rank += popCount(this.word(at));
    this.#lastWord = word;
    this.#lastRank = rank;
    return rank;
  }

  #entry(entry: number): number {
    for (; this.#known < entry; this.#known++) {
      const start = this.#known * this.#step;
      this.#directory[this.#known + 1] = this.#directory[this.#known]! + this.#countWords(start, start + this.#step);
    }
    return this.#directory[entry]!;
  }

  /** `start` lies on a window; so does `end`, or the bitmap ends before. */
  #countWords(start: number, end: number): number {
    const limit = Math.min(end, this.#wordCount);
    let count = 0;
    for (let at = this.nextWord(start, limit); at < limit; at = this.nextWord(at, limit)) {
      const base = roundDown(at, WINDOW_WORDS);
      const { words } = this.#windows.load(base / WINDOW_WORDS);
      const whole = Math.floor(this.bitCount / 32);
      for (const stop = Math.min(base + WINDOW_WORDS, whole); at < stop; at++) count += popCount(words[at - base]!);
      if (at === whole && at < base + WINDOW_WORDS) count += popCount(this.word(at++));
    }
    return count;
  }
}

/** Set bits of a 32-bit word. Source: H. S. Warren, Hacker's Delight, figure 5-2. */
export function popCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Zero bits below the lowest set one of a word that is not 0. */
export function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
