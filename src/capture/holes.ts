/** The pages that could not be read: neighbours with one error share an entry, the list is bounded, nothing grows at panic. */

/** Neighbouring pages that could not be read, and why. */
export interface HoleRange {
  readonly start: number;
  readonly end: number;
  /** Code of the error that reading gave. */
  readonly code: string;
}

/** Entries kept; further holes are only counted. A run record holds some 60 bytes for each. */
export const HOLE_RANGES_MAX = 1024;
/** Different error codes kept apart; further ones are listed as the last. */
const CODES_MAX = 16;

/** Collects holes in ascending order of each pass. Allocates only when made. */
export class HoleList {
  /** Pages, listed or not. */
  pages = 0;
  /** Ranges that found no room in the list. */
  omittedRanges = 0;
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #codes: Uint8Array;
  readonly #names: string[] = [];
  #length = 0;
  #omittedEnd = -1;

  constructor(limit = HOLE_RANGES_MAX) {
    this.#starts = new Float64Array(limit);
    this.#ends = new Float64Array(limit);
    this.#codes = new Uint8Array(limit);
  }

  /** Notes that `count` pages from `pfn` on could not be read. */
  add(pfn: number, count: number, code: string): void {
    this.pages += count;
    const index = this.#codeIndex(code);
    const last = this.#length - 1;
    if (last >= 0 && this.#ends[last] === pfn && this.#codes[last] === index) {
      this.#ends[last] = pfn + count;
    } else if (this.#length < this.#starts.length) {
      this.#starts[this.#length] = pfn;
      this.#ends[this.#length] = pfn + count;
      this.#codes[this.#length] = index;
      this.#length++;
    } else {
      if (this.#omittedEnd !== pfn) this.omittedRanges++;
      this.#omittedEnd = pfn + count;
    }
  }

  /** Counts holes whose places are no longer known. */
  addUnlisted(count: number): void {
    this.pages += count;
    if (count > 0) this.omittedRanges++;
  }

  /** The first `limit` entries. */
  list(limit = this.#length): HoleRange[] {
    const ranges: HoleRange[] = [];
    for (let i = 0; i < Math.min(limit, this.#length); i++) {
      ranges.push({
        start: this.#starts[i] as number,
        end: this.#ends[i] as number,
        code: this.#names[this.#codes[i] as number] as string,
      });
    }
    return ranges;
  }

  #codeIndex(code: string): number {
    const known = this.#names.indexOf(code);
    if (known >= 0) return known;
    if (this.#names.length === CODES_MAX) return CODES_MAX - 1;
    return this.#names.push(code) - 1;
  }
}
