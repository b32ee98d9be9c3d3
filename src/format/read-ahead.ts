/** Page data read in order comes in large transfers; anything else is read as asked. */

import { isBadSector } from '../base/errors.ts';
import type { ByteSource } from '../base/source.ts';

/** One transfer; halves the cost of 4 KiB reads. */
const AHEAD_BYTES = 256 * 1024;
/** Reads of this size or more gain nothing. */
const LARGE_READ = AHEAD_BYTES / 2;
/** So many reads that go forward in small steps make a sequence. */
const SEQUENCE_MIN = 4;

/**
 * A {@link ByteSource} over another, with one window of read-ahead that is made at the first sequence. A bad sector costs the
 * reads that need it and no others.
 */
export function readAhead(source: ByteSource): ByteSource {
  let window: Uint8Array | undefined;
  let windowStart = 0;
  let windowLength = 0;
  let expected = -1;
  let inOrder = 0;
  /** Before this offset lies a window that would not read: there everything is read as asked. */
  let asAsked = -1;

  const refill = (offset: number): void => {
    window ??= new Uint8Array(AHEAD_BYTES);
    windowLength = 0;
    try {
      windowLength = source.readInto(window, offset);
      windowStart = offset;
    } catch (error) {
      if (!isBadSector(error)) throw error;
      asAsked = offset + AHEAD_BYTES;
    }
  };
  const fromWindow = (target: Uint8Array, offset: number): boolean => {
    if (window === undefined) return false;
    if (offset < windowStart || offset + target.length > windowStart + windowLength) return false;
    copy(window, offset - windowStart, target);
    return true;
  };

  return {
    name: source.name,
    size: source.size,
    readInto(target, offset) {
      const near = offset >= expected && offset - expected < AHEAD_BYTES;
      inOrder = near ? inOrder + 1 : 0;
      expected = offset + target.length;
      if (fromWindow(target, offset)) return target.length;
      const sequence = inOrder >= SEQUENCE_MIN && target.length < LARGE_READ;
      const isBad = offset < asAsked && offset >= asAsked - AHEAD_BYTES;
      if (!sequence || isBad) return source.readInto(target, offset);
      refill(offset);
      return fromWindow(target, offset) ? target.length : source.readInto(target, offset);
    },
  };
}

function copy(from: Uint8Array, at: number, target: Uint8Array): void {
  target.set(from.subarray(at, at + target.length));
}
