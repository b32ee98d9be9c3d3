/** Where a chunk is put together: lists grow in a table beside it, page bytes behind room for the head. */

import type { Crc32 } from '../../base/crc32.ts';
import { roundUp } from '../../base/cursor.ts';
import { putChunkEntry, putIndexEntry } from './log-entries.ts';
import { CHUNK_ENTRY, CODEC_ZERO, INDEX_ENTRY, RECORD } from './log-layout.ts';

/** Sizes of a {@link ChunkBuffer}, in bytes unless said otherwise. */
export interface ChunkPlan {
  /** Largest chunk with head and padding. */
  readonly chunkBytes: number;
  /** Most entries in a chunk. */
  readonly chunkEntries: number;
  /** Records lie on multiples of this. */
  readonly alignment: number;
  readonly pageSize: number;
  /** Gives `chunkBytes` of memory for the next chunk; a buffer of the chunk's own without. */
  readonly lend?: () => Uint8Array;
}

/** Views kept: those of four transfers of 1 MiB, twice. */
const PLACED_MAX = 2048;

/** A page in the chunk's memory, where it was read to. */
export interface PlacedPage {
  readonly bytes: Uint8Array;
  /** The same by 32-bit word. */
  readonly words: Uint32Array;
}

/**
 * Collects the pages of one chunk, as the record that it becomes, in the memory that the device is given in the end: pages
 * are read into {@link space} behind those that are there, and a raw page that follows its neighbour stays where it is.
 *
 * ```
 * | header + lists, room for more | stored bytes | space: pages just read … |
 *                                 ▲ dataStart     ▲ dataStart + used, on the next page boundary
 * ```
 *
 * The stored bytes begin behind room for the lists of a chunk of raw pages; more entries than that, which only zero or compressed
 * pages bring, move them up by a block now and then.
 */
export class ChunkBuffer {
  /** Entries in the open chunk. */
  count = 0;
  /** Where a codec puts a compressed page before {@link addCompressed} takes it; one page. */
  readonly scratch: Uint8Array;
  /** Views of pages by their place in memory: raw pages lie in the same places chunk after chunk. */
  readonly #placed = new Map<number, PlacedPage>();
  readonly #lists: Uint8Array;
  readonly #view: DataView;
  readonly #plan: ChunkPlan;
  readonly #lend: () => Uint8Array;
  #bytes: Uint8Array = new Uint8Array(0);
  #dataStart = 0;
  /** Entries for which there is room before the page bytes. */
  #headEntries = 0;
  #used = 0;
  #spaceStart = 0;
  #limitBytes = 0;
  #limitEntries = 0;

  constructor(plan: ChunkPlan) {
    this.#plan = plan;
    const own = plan.lend ? undefined : new Uint8Array(plan.chunkBytes);
    this.#lend = plan.lend ?? (() => own as Uint8Array);
    this.scratch = new Uint8Array(plan.pageSize);
    this.#lists = new Uint8Array(plan.chunkEntries * CHUNK_ENTRY.size);
    this.#view = new DataView(this.#lists.buffer);
  }

  /** Begins a chunk of at most so much; nothing else may be asked of who lends until it is closed. */
  open(limitBytes: number, limitEntries: number): void {
    const { chunkBytes, chunkEntries, pageSize } = this.#plan;
    this.clear();
    this.#limitBytes = Math.min(limitBytes, chunkBytes);
    this.#limitEntries = Math.min(limitEntries, chunkEntries);
    const head = this.#headLength(Math.floor(this.#limitBytes / pageSize));
    this.#beginData(Math.max(1, Math.floor((this.#limitBytes - head) / pageSize)));
    this.#bytes = this.#lend();
  }

  /** How many pages, at most `most`, {@link space} has room for; 0 when the chunk is full. */
  room(most: number): number {
    const { pageSize } = this.#plan;
    const left = this.#limitBytes - this.#headLength(this.count + 1) - roundUp(this.#used, pageSize);
    let pages = Math.min(most, this.#limitEntries - this.count, Math.max(0, Math.floor(left / pageSize)));
    while (pages > 0 && this.#spaceEnd(pages) > this.#limitBytes) pages--;
    return pages;
  }

  /** Memory for so many pages, no more than there is {@link room} for; each is then added, in order, or left out. */
  space(pages: number): Uint8Array {
    const { pageSize } = this.#plan;
    if (this.count + pages > this.#headEntries) this.#moveData(this.count + pages);
    this.#spaceStart = this.#dataStart + roundUp(this.#used, pageSize);
    return this.#bytes.subarray(this.#spaceStart, this.#spaceStart + pages * pageSize);
  }

  /** Page `n` of the space. */
  placed(n: number): PlacedPage {
    const at = this.#bytes.byteOffset + this.#spaceStart + n * this.#plan.pageSize;
    const known = this.#placed.get(at);
    if (known) return known;
    const { buffer } = this.#bytes;
    const { pageSize } = this.#plan;
    const page = { bytes: new Uint8Array(buffer, at, pageSize), words: new Uint32Array(buffer, at, pageSize / 4) };
    if (this.#placed.size < PLACED_MAX) this.#placed.set(at, page);
    return page;
  }

  addZero(pfn: number, checksum: number): void {
    this.#addEntry(pfn, 0, checksum, CODEC_ZERO);
  }

  /** Takes page `n` of the space as it is. */
  addRaw(pfn: number, n: number, checksum: number): void {
    const { pageSize } = this.#plan;
    const from = this.#spaceStart + n * pageSize;
    const to = this.#dataStart + this.#used;
    if (from !== to) this.#bytes.copyWithin(to, from, from + pageSize);
    this.#addEntry(pfn, pageSize, checksum, 0);
  }

  /** Takes the first `length` bytes of {@link scratch} for the page of the space whose turn it is. */
  addCompressed(pfn: number, length: number, checksum: number, codecFlag: number): void {
    this.#bytes.set(this.scratch.subarray(0, length), this.#dataStart + this.#used);
    this.#addEntry(pfn, length, checksum, codecFlag);
  }

  /**
   * Ends the chunk, which must have entries, as the record at `offset` of the device: entries get their place in the record,
   * and `index` one descriptor each from `indexAt` on.
   *
   * @returns the record's bytes, good until the next {@link open}, the header still to be filled.
   */
  close(offset: number, zeroPageOffset: number, index: DataView, indexAt: number): Uint8Array {
    const headLength = this.#headLength(this.count);
    for (let i = 0, entry = 0; i < this.count; i++, entry += CHUNK_ENTRY.size) {
      this.#placeEntry(entry, headLength, offset, zeroPageOffset, index, indexAt + i * INDEX_ENTRY.size);
    }
    // A chunk with room to spare, the last of a pass, has a shorter head.
    this.#moveData(this.count);
    this.#bytes.set(this.#lists.subarray(0, this.listLength), RECORD.size);
    this.#bytes.fill(0, RECORD.size + this.listLength, headLength);
    const dataEnd = headLength + this.#used;
    const end = roundUp(dataEnd, this.#plan.alignment);
    this.#bytes.fill(0, dataEnd, end);
    return this.#bytes.subarray(0, end);
  }

  /** Forgets the chunk; what {@link close} returned is still good. */
  clear(): void {
    this.count = 0;
    this.#used = 0;
    this.#limitBytes = 0;
    this.#limitEntries = 0;
  }

  get listLength(): number {
    return this.count * CHUNK_ENTRY.size;
  }

  listChecksum(crc: Crc32): number {
    return crc(this.#lists.subarray(0, this.listLength));
  }

  /** Pfn of the first or the last entry of a chunk that has one. */
  pfn(entry: number): number {
    return this.#pfnAt(entry * CHUNK_ENTRY.size);
  }

  #headLength(count: number): number {
    return roundUp(RECORD.size + count * CHUNK_ENTRY.size, this.#plan.alignment);
  }

  /** Page bytes begin behind room for so many entries, rounded up to the block. */
  #beginData(entries: number): void {
    this.#dataStart = this.#headLength(entries);
    this.#headEntries = Math.floor((this.#dataStart - RECORD.size) / CHUNK_ENTRY.size);
  }

  #moveData(entries: number): void {
    const from = this.#dataStart;
    this.#beginData(entries);
    if (from !== this.#dataStart) this.#bytes.copyWithin(this.#dataStart, from, from + this.#used);
  }

  /** Where a space of so many pages would end. */
  #spaceEnd(pages: number): number {
    const { pageSize } = this.#plan;
    const head = Math.max(this.#dataStart, this.#headLength(this.count + pages));
    return head + roundUp(this.#used, pageSize) + pages * pageSize;
  }

  #addEntry(pfn: number, length: number, checksum: number, codec: number): void {
    putChunkEntry(this.#view, this.count * CHUNK_ENTRY.size, pfn, this.#used, length, checksum, codec);
    this.#used += length;
    this.count++;
  }

  /** Turns an offset among the page bytes into one in the record, and writes the descriptor. */
  #placeEntry(
    entry: number,
    headLength: number,
    recordOffset: number,
    zeroPageOffset: number,
    index: DataView,
    at: number,
  ): void {
    const view = this.#view;
    const codec = view.getUint16(entry + CHUNK_ENTRY.codec, true);
    const isZero = codec === CODEC_ZERO;
    const offset = isZero ? 0 : view.getUint32(entry + CHUNK_ENTRY.offset, true) + headLength;
    view.setUint32(entry + CHUNK_ENTRY.offset, offset, true);
    putIndexEntry(
      index,
      at,
      this.#pfnAt(entry),
      isZero ? zeroPageOffset : recordOffset + offset,
      isZero ? this.#plan.pageSize : view.getUint32(entry + CHUNK_ENTRY.length, true),
      isZero ? 0 : codec,
      view.getUint32(entry + CHUNK_ENTRY.checksum, true),
    );
  }

  #pfnAt(entry: number): number {
    const at = entry + CHUNK_ENTRY.pfn;
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }
}
