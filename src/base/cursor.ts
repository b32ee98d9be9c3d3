/** A bounds-checked view of a block of a dump that knows where in the file it lies. */

import { FormatError } from './errors.ts';
import { hex } from './hex.ts';

/** Largest integer that a JavaScript number holds exactly, plus one. */
export const U53_END = 2 ** 53;

/**
 * Reads integers of a block by offset. One block is checked once, when the cursor is made; a read beyond it throws a
 * {@link FormatError} that names the file offset.
 */
export class Cursor {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  /** File offset of byte 0 of the block, for messages. */
  readonly fileOffset: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, fileOffset = 0, littleEndian = true) {
    this.bytes = bytes;
    this.fileOffset = fileOffset;
    this.littleEndian = littleEndian;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number): number {
    this.#check(offset, 1);
    return this.bytes[offset] as number;
  }

  u16(offset: number): number {
    this.#check(offset, 2);
    return this.#view.getUint16(offset, this.littleEndian);
  }

  u32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getUint32(offset, this.littleEndian);
  }

  s32(offset: number): number {
    this.#check(offset, 4);
    return this.#view.getInt32(offset, this.littleEndian);
  }

  /** A u64 that must be a size, an offset or a pfn: from 2^53 up it is refused as corrupt. */
  u64(offset: number): number {
    this.#check(offset, 8);
    const low = this.#view.getUint32(offset + (this.littleEndian ? 0 : 4), this.littleEndian);
    const high = this.#view.getUint32(offset + (this.littleEndian ? 4 : 0), this.littleEndian);
    if (high < 0x200000) return high * 2 ** 32 + low;
    const value = this.#view.getBigUint64(offset, this.littleEndian);
    throw new FormatError(
      'U64_RANGE',
      `64-bit value ${hex(value)} at file offset ${hex(this.fileOffset + offset)} is past 2^53`,
      { offset: this.fileOffset + offset, value },
    );
  }

  /** An s64 that must fit a JavaScript number, such as a file offset that may be negative. */
  s64(offset: number): number {
    const value = this.bigS64(offset);
    if (value > -BigInt(U53_END) && value < BigInt(U53_END)) return Number(value);
    throw new FormatError(
      'S64_RANGE',
      `signed 64-bit value ${hex(value)} at file offset ${hex(this.fileOffset + offset)} is past 2^53`,
      { offset: this.fileOffset + offset, value },
    );
  }

  /** All 64 bits, unsigned: kernel virtual addresses, sentinels. */
  big(offset: number): bigint {
    this.#check(offset, 8);
    return this.#view.getBigUint64(offset, this.littleEndian);
  }

  /** All 64 bits, signed. */
  bigS64(offset: number): bigint {
    this.#check(offset, 8);
    return this.#view.getBigInt64(offset, this.littleEndian);
  }

  /** `length` bytes, shared with the block. */
  slice(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    return this.bytes.subarray(offset, offset + length);
  }

  /** Latin-1 text of at most `length` bytes, ended by the first NUL. */
  text(offset: number, length: number): string {
    return latin1(this.slice(offset, length));
  }

  #check(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.bytes.length) return;
    throw new FormatError(
      'OUT_OF_BLOCK',
      `${length} bytes at ${hex(offset)} lie outside a block of ${this.bytes.length} bytes at file offset ${hex(this.fileOffset)}`,
      { offset: this.fileOffset + offset, length, blockLength: this.bytes.length },
    );
  }
}

/** Writes integers into a block of the caller's, little-endian unless told otherwise. */
export class BlockWriter {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, littleEndian = true) {
    this.bytes = bytes;
    this.littleEndian = littleEndian;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u8(offset: number, value: number): void {
    this.#view.setUint8(offset, value);
  }

  u16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, this.littleEndian);
  }

  u32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, this.littleEndian);
  }

  s32(offset: number, value: number): void {
    this.#view.setInt32(offset, value, this.littleEndian);
  }

  /** A non-negative integer below 2^53, as a u64. */
  u64(offset: number, value: number): void {
    this.#view.setUint32(offset + (this.littleEndian ? 0 : 4), value % 2 ** 32, this.littleEndian);
    this.#view.setUint32(offset + (this.littleEndian ? 4 : 0), Math.floor(value / 2 ** 32), this.littleEndian);
  }

  big(offset: number, value: bigint): void {
    this.#view.setBigUint64(offset, BigInt.asUintN(64, value), this.littleEndian);
  }

  put(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset);
  }

  /** Latin-1 text, cut to `length` bytes and padded with NULs; the last byte is always NUL. */
  text(offset: number, length: number, value: string): void {
    this.bytes.fill(0, offset, offset + length);
    for (let i = 0; i < Math.min(value.length, length - 1); i++) this.bytes[offset + i] = value.charCodeAt(i) & 0xff;
  }
}

/** Bytes up to the first NUL as Latin-1, one character per byte. */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0) break;
    text += String.fromCharCode(byte);
  }
  return text;
}

/** `value` rounded up to a multiple of `unit`. Both below 2^53. */
export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** `value` rounded down to a multiple of `unit`. */
export function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}
