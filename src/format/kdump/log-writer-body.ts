/** The body of a generation: bitmap 1 from the ranges, bitmap 2 and descriptors by one merge of the index records. */

import type { Crc32 } from '../../base/crc32.ts';
import { type DumpDevice, readDevice, writeDevice } from '../../base/device.ts';
import { AssertionError, assert, DeviceError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Range } from '../../base/ranges.ts';
import { PAGE_DESC } from './layout.ts';
import { IndexRefs } from './log-generation.ts';
import { INDEX_ENTRY, RECORD } from './log-layout.ts';

/** The index records of a dump in the order of writing: within one pass they ascend. */
export class IndexTable {
  readonly refs = new IndexRefs();
  /** CRC-32 of each record's lists, as written: what reading it back must give. */
  readonly checksums: Uint32Array;

  /** @param capacity most index records. */
  constructor(capacity: number) {
    this.checksums = new Uint32Array(capacity);
  }

  get count(): number {
    return this.refs.length;
  }

  add(ref: {
    readonly offset: number;
    readonly firstPfn: number;
    readonly lastPfn: number;
    readonly count: number;
    readonly pass: number;
    readonly checksum: number;
  }): void {
    assert(this.count < this.checksums.length, `index record ${this.count + 1} of a dump, planned for ${this.count}`);
    this.checksums[this.count] = ref.checksum;
    this.refs.push(ref.offset, ref.firstPfn, ref.lastPfn, ref.count, ref.pass);
  }
}

/** Where a body goes and what it holds. */
export interface BodyPlan {
  /** Absolute offset of bitmap 1, a multiple of the record alignment. */
  readonly offset: number;
  /** Of each bitmap; a multiple of page size and device block. */
  readonly bitmapBytes: number;
  readonly ranges: readonly Range[];
  /** Entries of all index records together. */
  readonly descriptorCount: number;
}

/** Checksums of the three parts, as the head holds them. */
export interface BodyChecksums {
  bitmap1: number;
  bitmap2: number;
  descriptors: number;
}

/** Buffers of a body in bytes; the default is 0.8 MiB in all for two passes. */
export interface BodySizes {
  readonly bitmapWindow: number;
  readonly descriptorWindow: number;
  readonly cursorWindow: number;
}

export const BODY_SIZES: BodySizes = { bitmapWindow: 2 ** 16, descriptorWindow: 3 * 2 ** 16, cursorWindow: 2 ** 18 };

/** Writes bodies with buffers made once. */
export class BodyWriter {
  readonly #device: DumpDevice;
  readonly #pageSize: number;
  readonly #bitmap: StreamOut;
  readonly #descriptors: StreamOut;
  readonly #cursors: IndexCursor[];

  /** @param unit every window becomes a multiple of it: the record alignment. */
  constructor(options: {
    readonly device: DumpDevice;
    readonly crc: Crc32;
    readonly pageSize: number;
    readonly unit: number;
    readonly passCount: number;
    readonly sizes?: BodySizes;
  }) {
    const { device, crc, unit, sizes = BODY_SIZES } = options;
    const windowOf = (bytes: number): number => Math.max(unit, Math.floor(bytes / unit) * unit);
    this.#device = device;
    this.#pageSize = options.pageSize;
    this.#bitmap = new StreamOut(device, crc, windowOf(sizes.bitmapWindow));
    // A multiple of three units holds whole descriptors of 24 bytes.
    this.#descriptors = new StreamOut(device, crc, 3 * windowOf(sizes.descriptorWindow / 3));
    this.#cursors = Array.from(
      { length: options.passCount },
      (_, pass) => new IndexCursor(device, crc, pass, windowOf(sizes.cursorWindow)),
    );
  }

  /**
   * Writes the body, unflushed.
   *
   * @param served called now and then, so that a long merge still moves the heartbeat.
   * @returns checksums of the three parts; the padding behind the descriptors is written and not part of theirs.
   * @throws DeviceError, also where an index record does not read back as it was written.
   */
  write(plan: BodyPlan, indexes: IndexTable, served: () => void): BodyChecksums {
    const bitmap1 = this.#writePresent(plan, served);
    const bitmap2Offset = plan.offset + plan.bitmapBytes;
    this.#bitmap.begin(bitmap2Offset, plan.bitmapBytes);
    this.#descriptors.begin(bitmap2Offset + plan.bitmapBytes, plan.descriptorCount * PAGE_DESC.size);
    for (const cursor of this.#cursors) cursor.begin(indexes);
    let merged = 0;
    let last = -1;
    for (let cursor = this.#lowest(); cursor; cursor = this.#lowest()) {
      const pfn = cursor.pfn;
      if (pfn <= last)
        throw new AssertionError('INDEX_ORDER', `pfn ${hex(pfn)} comes after ${hex(last)} in the indexes`);
      last = pfn;
      this.#bitmap.setBit(pfn);
      this.#descriptors.putDescriptor(cursor.words, (cursor.at + INDEX_ENTRY.descriptor) / 4);
      cursor.advance();
      if ((++merged & SERVE_MASK) === 0) served();
    }
    if (merged !== plan.descriptorCount)
      throw new AssertionError('INDEX_COUNT', `the indexes hold ${merged} pages, expected ${plan.descriptorCount}`);
    return { bitmap1, bitmap2: this.#bitmap.finish(), descriptors: this.#descriptors.finish(this.#alignedTail()) };
  }

  #writePresent(plan: BodyPlan, served: () => void): number {
    this.#bitmap.begin(plan.offset, plan.bitmapBytes);
    for (const range of plan.ranges) this.#bitmap.setBits(range.start, range.end);
    served();
    return this.#bitmap.finish();
  }

  #lowest(): IndexCursor | undefined {
    let lowest: IndexCursor | undefined;
    for (const cursor of this.#cursors) if (cursor.live && (!lowest || cursor.pfn < lowest.pfn)) lowest = cursor;
    return lowest;
  }

  #alignedTail(): number {
    return Math.max(this.#pageSize, this.#device.blockSize);
  }
}

/** Pages merged between two calls of `served`, less one. */
const SERVE_MASK = 2 ** 16 - 1;

/** Writes one region of the device forward through a window, with its checksum. */
class StreamOut {
  readonly #device: DumpDevice;
  readonly #crc: Crc32;
  readonly #window: Uint8Array;
  readonly #words: Uint32Array;
  /** Device offset of the window. */
  #offset = 0;
  /** Region offset of the window. */
  #base = 0;
  #length = 0;
  #fill = 0;
  #checksum = 0;

  constructor(device: DumpDevice, crc: Crc32, windowBytes: number) {
    this.#device = device;
    this.#crc = crc;
    this.#window = new Uint8Array(windowBytes);
    this.#words = new Uint32Array(this.#window.buffer);
  }

  begin(offset: number, length: number): void {
    this.#offset = offset;
    this.#base = 0;
    this.#length = length;
    this.#fill = 0;
    this.#checksum = 0;
    this.#window.fill(0);
  }

  /** Appends the descriptor at word `from` of `words`. The window holds whole ones. */
  putDescriptor(words: Uint32Array, from: number): void {
    if (this.#fill === this.#window.length) this.#drain();
    const to = this.#fill / 4;
    for (let i = 0; i < PAGE_DESC.size / 4; i++) this.#words[to + i] = words[from + i] as number;
    this.#fill += PAGE_DESC.size;
  }

  /** Sets a bit at or behind those set before. */
  setBit(bit: number): void {
    const byte = Math.floor(bit / 8);
    // Bits of a log that was resumed come from a device: one past the end would be written over what lies behind.
    if (byte >= this.#length) throw new AssertionError('BITMAP_END', `bit ${hex(bit)} of ${this.#length} bytes`);
    this.#drainTo(byte);
    const at = byte - this.#base;
    this.#window[at] = (this.#window[at] as number) | (1 << (bit & 7));
  }

  /** Sets the bits from `start` to before `end`, all behind those set before. */
  setBits(start: number, end: number): void {
    let bit = start;
    for (; bit < end && bit % 8 !== 0; bit++) this.setBit(bit);
    while (end - bit >= 8) {
      const byte = bit / 8;
      this.#drainTo(byte);
      const at = byte - this.#base;
      const bytes = Math.min(Math.floor(end / 8) - byte, this.#window.length - at);
      this.#window.fill(0xff, at, at + bytes);
      bit += 8 * bytes;
    }
    for (; bit < end; bit++) this.setBit(bit);
  }

  /** Writes what is left; `unit` pads the last piece. Bits that were never reached are zeros. */
  finish(unit = 1): number {
    while (this.#base + this.#window.length < this.#length) this.#drain();
    const rest = this.#length - this.#base;
    const padded = Math.ceil(rest / unit) * unit;
    if (rest > 0) {
      this.#checksum = this.#crc(this.#window.subarray(0, rest), this.#checksum);
      this.#window.fill(0, rest, padded);
      writeDevice(this.#device, this.#window.subarray(0, padded), this.#offset);
    }
    return this.#checksum;
  }

  #drainTo(byte: number): void {
    while (byte >= this.#base + this.#window.length) this.#drain();
  }

  #drain(): void {
    this.#checksum = this.#crc(this.#window, this.#checksum);
    writeDevice(this.#device, this.#window, this.#offset);
    this.#offset += this.#window.length;
    this.#base += this.#window.length;
    this.#fill = 0;
    this.#window.fill(0);
  }
}

/** Reads the entries of one pass's index records back, in order, through a window. */
class IndexCursor {
  /** False behind the last entry. */
  live = false;
  /** Of the current entry. */
  pfn = 0;
  /** The window; the current entry lies at `at`. */
  readonly bytes: Uint8Array;
  /** The same by 32-bit word. */
  readonly words: Uint32Array;
  at = 0;
  readonly #device: DumpDevice;
  readonly #crc: Crc32;
  readonly #pass: number;
  #table: IndexTable | undefined;
  /** Number of the current index record. */
  #record = 0;
  /** Entries of it still behind the current one. */
  #left = 0;
  /** Device offset of the window's end, and window offset of its end. */
  #next = 0;
  #end = 0;
  #checksum = 0;
  /** Pfns of the record's entries that are still to come lie above the first and up to the second. */
  #above = -1;
  #last = -1;

  constructor(device: DumpDevice, crc: Crc32, pass: number, windowBytes: number) {
    this.#device = device;
    this.#crc = crc;
    this.#pass = pass;
    this.bytes = new Uint8Array(windowBytes);
    this.words = new Uint32Array(this.bytes.buffer);
  }

  begin(table: IndexTable): void {
    this.#table = table;
    this.#record = -1;
    this.#left = 0;
    this.live = true;
    this.advance();
  }

  /** Moves to the next entry, or to the end. Entries of 32 bytes never straddle a window: heads are 128 bytes. */
  advance(): void {
    if (this.#left === 0) {
      if (!this.#openNext()) return;
    } else {
      this.at += INDEX_ENTRY.size;
      if (this.at === this.#end) this.#fill();
    }
    this.#left--;
    const at = (this.at + INDEX_ENTRY.pfn) / 4;
    this.pfn = (this.words[at + 1] as number) * 2 ** 32 + (this.words[at] as number);
    if (this.pfn <= this.#above || this.pfn > this.#last) throw this.#misread(`pfn ${hex(this.pfn)} out of its order`);
    this.#above = this.pfn;
  }

  #openNext(): boolean {
    const table = this.#table as IndexTable;
    this.#checkRecord(table);
    do this.#record++;
    while (this.#record < table.count && table.refs.pass(this.#record) !== this.#pass);
    if (this.#record >= table.count) {
      this.live = false;
      return false;
    }
    this.#left = table.refs.count(this.#record);
    this.#next = table.refs.offset(this.#record);
    this.#above = table.refs.firstPfn(this.#record) - 1;
    this.#last = table.refs.lastPfn(this.#record);
    this.#checksum = 0;
    this.#load(RECORD.size);
    return true;
  }

  #fill(): void {
    this.#load(0);
  }

  /** Reads the next window of the record; its entries begin at `skip`. */
  #load(skip: number): void {
    const { blockSize } = this.#device;
    const wanted = Math.min(this.bytes.length, skip + this.#left * INDEX_ENTRY.size);
    const length = Math.ceil(wanted / blockSize) * blockSize;
    readDevice(this.#device, this.bytes.subarray(0, length), this.#next);
    this.#next += length;
    this.#checksum = this.#crc(this.bytes.subarray(skip, wanted), this.#checksum);
    this.at = skip;
    this.#end = wanted;
  }

  /** The record just read must be what was written. */
  #checkRecord(table: IndexTable): void {
    const written = table.checksums[this.#record] as number;
    if (this.#record < 0 || this.#checksum === written) return;
    throw this.#misread(`checksum ${hex(this.#checksum)}, written with ${hex(written)}`);
  }

  #misread(found: string): DeviceError {
    const offset = this.#table?.refs.offset(this.#record) ?? 0;
    return new DeviceError(
      'DEVICE_READBACK',
      `reading the index record at ${hex(offset)} of ${this.#device.name} back: ${found}`,
      { device: this.#device.name, operation: 'read', offset },
    );
  }
}
