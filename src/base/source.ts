/** Random-access bytes that somebody else owns: the input side of every reader. */

import { DumpError, FormatError } from './errors.ts';
import { hex } from './hex.ts';

/**
 * A file, a mapping, a buffer, a dump device or another format's payload.
 *
 * To add one: give `size` (bytes; what lies beyond does not exist), and a synchronous `readInto` that fills as much
 * of `target` as there is from `offset` and returns the count, short only at the end of the source. A failing medium
 * throws a `DeviceError`. It never returns bytes that it did not read.
 */
export interface ByteSource {
  /** What to call it in messages: usually a path. */
  readonly name: string;
  /** Bytes. `Infinity` is not allowed; a growing file has the size it had when opened. */
  readonly size: number;
  readInto(target: Uint8Array, offset: number): number;
  /**
   * The first offset at or after `offset` that may hold anything but zeros, `size` where nothing does. Absent where holes can't be
   * told from data. What lets a table of a sparse file be passed over in no time, however large it claims to be.
   */
  dataFrom?(offset: number): number;
}

/** A {@link ByteSource} over bytes in memory. */
export function bytesSource(bytes: Uint8Array, name = 'memory'): ByteSource {
  return {
    name,
    size: bytes.length,
    readInto(target, offset) {
      const part = bytes.subarray(Math.min(offset, bytes.length), Math.min(offset + target.length, bytes.length));
      target.set(part);
      return part.length;
    },
  };
}

/**
 * Reads exactly `length` bytes at `offset`.
 *
 * @throws FormatError `TRUNCATED` when the source ends before.
 */
export function readExactly(source: ByteSource, offset: number, length: number, what = 'bytes'): Uint8Array {
  const bytes = new Uint8Array(length);
  readExactlyInto(source, bytes, offset, what);
  return bytes;
}

/** As {@link readExactly}, into bytes of the caller's. */
export function readExactlyInto(source: ByteSource, target: Uint8Array, offset: number, what = 'bytes'): void {
  const got = source.readInto(target, offset);
  if (got === target.length) return;
  throw new FormatError(
    'TRUNCATED',
    `reading ${what} of ${source.name}: ${got} of ${target.length} bytes at offset ${hex(offset)}, the file has ${source.size} bytes`,
    { offset, length: target.length, got, size: source.size },
    'the file was cut short; `diskdump check` says what is still there',
  );
}

/** True for errors that mean "these bytes are not there or not readable", as opposed to bugs. */
export function isDumpError(error: unknown): error is DumpError {
  return error instanceof DumpError;
}
