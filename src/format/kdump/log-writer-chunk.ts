/** The one buffer in which a chunk is put together: lists grow in a table beside it, page bytes behind room for the head. */

import type { Crc32 } from '../../base/crc32.ts';
import { roundUp } from '../../base/cursor.ts';
import { CHUNK_ENTRY, CODEC_ZERO, INDEX_ENTRY, RECORD } from './log-layout.ts';
import { putChunkEntry, putIndexEntry } from './log-records.ts';

/** Sizes of a {@link ChunkBuffer}, in bytes unless said otherwise. */
export interface ChunkSizes {
  /** Largest chunk with head and padding. */
  readonly chunkBytes: number;
  /** Most entries in a chunk. */
  readonly chunkEntries: number;
  /** Records lie on multiples of this. */
  readonly alignment: number;
  readonly pageSize: number;
}

/**
 * Collects the pages of one chunk. The page bytes start at a fixed place of the buffer; when the chunk is closed its head
 * is laid right before them, so that the record is one contiguous transfer whatever the number of entries.
 *
 * ```
 * buffer  | … unused … | header + lists, padded | page bytes, padded | … | one compressed page |
 *                      ▲ the record                ▲ dataStart              ▲ scratch
 * ```
 */
export class ChunkBuffer {
  /** Entries in the open chunk. */
  count = 0;
  /** Where a codec puts a compressed page before {@link addCompressed} takes it; one page. */
  readonly scratch: Uint8Array;
  readonly #bytes: Uint8Array;
  readonly #lists: Uint8Array;
  readonly #view: DataView;
  readonly #sizes: ChunkSizes;
  readonly #dataStart: number;
  readonly #scratchStart: number;
  #used = 0;
  #limitBytes = 0;
  #limitEntries = 0;

  constructor(sizes: ChunkSizes) {
    this.#sizes = sizes;
    this.#dataStart = this.#headLength(sizes.chunkEntries);
    this.#scratchStart = this.#dataStart + sizes.chunkBytes;
    this.#bytes = new Uint8Array(this.#scratchStart + sizes.pageSize);
    this.scratch = this.#bytes.subarray(this.#scratchStart);
    this.#lists = new Uint8Array(sizes.chunkEntries * CHUNK_ENTRY.size);
    this.#view = new DataView(this.#lists.buffer);
  }

  /** Begins a chunk of at most so much. */
  open(limitBytes: number, limitEntries: number): void {
    this.count = 0;
    this.#used = 0;
    this.#limitBytes = Math.min(limitBytes, this.#sizes.chunkBytes);
    this.#limitEntries = Math.min(limitEntries, this.#sizes.chunkEntries);
  }

  /** Would one more page of `length` stored bytes go in? */
  fits(length: number): boolean {
    const count = this.count + 1;
    return count <= this.#limitEntries && this.#headLength(count) + this.#used + length <= this.#limitBytes;
  }

  addZero(pfn: number, checksum: number): void {
    this.#addEntry(pfn, 0, checksum, CODEC_ZERO);
  }

  addRaw(pfn: number, page: Uint8Array, checksum: number): void {
    this.#bytes.set(page, this.#dataStart + this.#used);
    this.#addEntry(pfn, page.length, checksum, 0);
  }

  /** Takes the first `length` bytes of {@link scratch}. */
  addCompressed(pfn: number, length: number, checksum: number, codecFlag: number): void {
    this.#bytes.copyWithin(this.#dataStart + this.#used, this.#scratchStart, this.#scratchStart + length);
    this.#addEntry(pfn, length, checksum, codecFlag);
  }

  /**
   * Ends the chunk as the record at `offset` of the device: entries get their place in the record, and `index` one
   * descriptor each from `indexAt` on.
   *
   * @returns the record's bytes, shared with this buffer, the header still to be filled.
   */
  close(offset: number, zeroPageOffset: number, index: DataView, indexAt: number): Uint8Array {
    const headLength = this.#headLength(this.count);
    for (let i = 0, entry = 0; i < this.count; i++, entry += CHUNK_ENTRY.size) {
      this.#placeEntry(entry, headLength, offset, zeroPageOffset, index, indexAt + i * INDEX_ENTRY.size);
    }
    const start = this.#dataStart - headLength;
    const listEnd = start + RECORD.size + this.listLength;
    this.#bytes.set(this.#lists.subarray(0, this.listLength), start + RECORD.size);
    this.#bytes.fill(0, listEnd, this.#dataStart);
    const dataEnd = this.#dataStart + this.#used;
    const end = start + roundUp(dataEnd - start, this.#sizes.alignment);
    this.#bytes.fill(0, dataEnd, end);
    return this.#bytes.subarray(start, end);
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
    return roundUp(RECORD.size + count * CHUNK_ENTRY.size, this.#sizes.alignment);
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
      isZero ? this.#sizes.pageSize : view.getUint32(entry + CHUNK_ENTRY.length, true),
      isZero ? 0 : codec,
      view.getUint32(entry + CHUNK_ENTRY.checksum, true),
    );
  }

  #pfnAt(entry: number): number {
    const at = entry + CHUNK_ENTRY.pfn;
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }
}
