/** A bitmap written forward through one window. */

import type { ByteSink } from '../../base/sink.ts';

/** Bytes of the window: the bits of 512 Ki pages. */
const WINDOW_BYTES = 65536;
const WINDOW_BITS = 8 * WINDOW_BYTES;

/**
 * Sets bits in ascending order. Windows that get no bit are not written: they are gaps in the sink, which read as zeros; the
 * first and the last one with a bit always are.
 */
export class BitmapCursor {
  readonly #sink: ByteSink;
  #offset: number;
  readonly #length: number;
  readonly #bytes = new Uint8Array(WINDOW_BYTES);
  /** Index of the window being filled. */
  #window = 0;

  /** @param offset where the bitmap lies in the sink. @param length its bytes. */
  constructor(sink: ByteSink, offset: number, length: number) {
    this.#sink = sink;
    this.#offset = offset;
    this.#length = length;
  }

  /** Sets bits `start` to `end` (half-open), none of them below one that was set before. */
  set(start: number, end: number): void {
    for (let bit = start; bit < end; ) {
      const window = Math.floor(bit / WINDOW_BITS);
      if (window !== this.#window) {
        this.end();
        this.#window = window;
      }
      const stop = Math.min(end, (window + 1) * WINDOW_BITS);
      setBits(this.#bytes, bit % WINDOW_BITS, stop - bit);
      bit = stop;
    }
  }

  /** Writes the window out. */
  end(): void {
    const start = this.#window * WINDOW_BYTES;
    const length = Math.min(WINDOW_BYTES, this.#length - start);
    this.#sink.write(this.#bytes.subarray(0, length), this.#offset + start);
    this.#bytes.fill(0);
  }

  /** Begins another bitmap of the same length with the same window. */
  moveTo(offset: number): this {
    this.#offset = offset;
    this.#window = 0;
    return this;
  }
}

/** Sets `count` bits from bit `first` on, least significant first. */
function setBits(bytes: Uint8Array, first: number, count: number): void {
  let bit = first;
  const end = first + count;
  for (; bit < end && (bit & 7) !== 0; bit++) bytes[bit >>> 3]! |= 1 << (bit & 7);
  const wholeEnd = end - (end & 7);
  if (bit < wholeEnd) {
    bytes.fill(0xff, bit >>> 3, wholeEnd >>> 3);
    bit = wholeEnd;
  }
  for (; bit < end; bit++) bytes[bit >>> 3]! |= 1 << (bit & 7);
}
