/** Entries of chunks and index records: written without allocating, read in place. */

import { FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { CHUNK_ENTRY, CODEC_ZERO, INDEX_ENTRY, PAGE_PROOF, RECORD } from './log-layout.ts';
import type { RecordHeader } from './log-records.ts';

/** A page in a chunk. */
export interface ChunkEntry {
  readonly pfn: number;
  /** Of the stored bytes, from the start of the record; 0 for a zero page. */
  readonly offset: number;
  /** Stored bytes; 0 for a zero page. */
  readonly length: number;
  /** CRC-32 of the page before compression. */
  readonly checksum: number;
  /** KDUMP flag, or `CODEC_ZERO`. */
  readonly codec: number;
}

/** Writes a chunk's entry at byte `at` of `view`. Allocates nothing; a zero page is `CODEC_ZERO` with offset and length 0. */
export function putChunkEntry(
  view: DataView,
  at: number,
  pfn: number,
  offset: number,
  length: number,
  checksum: number,
  codec: number,
): void {
  putU64(view, at + CHUNK_ENTRY.pfn, pfn);
  view.setUint32(at + CHUNK_ENTRY.offset, offset, true);
  view.setUint32(at + CHUNK_ENTRY.length, length, true);
  view.setUint32(at + CHUNK_ENTRY.checksum, checksum, true);
  view.setUint16(at + CHUNK_ENTRY.codec, codec, true);
  view.setUint16(at + CHUNK_ENTRY.reserved, 0, true);
}

/** Writes an index's entry at byte `at` of `view`: pfn, then the 24-byte descriptor with its proof. Allocates nothing. */
export function putIndexEntry(
  view: DataView,
  at: number,
  pfn: number,
  fileOffset: number,
  storedLength: number,
  flags: number,
  checksum: number,
): void {
  putU64(view, at + INDEX_ENTRY.pfn, pfn);
  putU64(view, at + INDEX_ENTRY.fileOffset, fileOffset);
  view.setUint32(at + INDEX_ENTRY.storedLength, storedLength, true);
  view.setUint32(at + INDEX_ENTRY.flags, flags, true);
  view.setUint32(at + INDEX_ENTRY.proof + PAGE_PROOF.checksum, checksum, true);
  view.setUint32(at + INDEX_ENTRY.proof + PAGE_PROOF.pfn, pfn % 2 ** 32, true);
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** The entries of a chunk, read in place; checked when made, so that every entry lies inside its record. */
export class ChunkEntries {
  readonly count: number;
  readonly #view: DataView;

  /**
   * @param lists the chunk's lists, already proved by their checksum.
   * @throws FormatError where an entry is out of order, outside the record, or longer than a page.
   */
  constructor(header: RecordHeader, lists: Uint8Array) {
    this.count = header.entryCount;
    this.#view = new DataView(lists.buffer, lists.byteOffset, this.count * CHUNK_ENTRY.size);
    const dataStart = RECORD.size + header.listLength;
    let previous = -1;
    for (let i = 0; i < this.count; i++) {
      const problem = this.#problem(i, header, dataStart, previous);
      if (problem !== undefined)
        throw new FormatError('CHUNK_ENTRY', `entry ${i} of the chunk at ${hex(header.offset)}: ${problem}`, {
          offset: header.offset,
          entry: i,
        });
      previous = this.pfn(i);
    }
    if (this.pfn(0) !== header.firstPfn || previous !== header.lastPfn)
      throw new FormatError(
        'CHUNK_ENTRY',
        `chunk at ${hex(header.offset)}: its head names other pfns than its entries`,
        {
          offset: header.offset,
        },
      );
  }

  pfn(i: number): number {
    return getU64(this.#view, i * CHUNK_ENTRY.size + CHUNK_ENTRY.pfn);
  }

  /** From the start of the record. */
  offset(i: number): number {
    return this.#view.getUint32(i * CHUNK_ENTRY.size + CHUNK_ENTRY.offset, true);
  }

  length(i: number): number {
    return this.#view.getUint32(i * CHUNK_ENTRY.size + CHUNK_ENTRY.length, true);
  }

  checksum(i: number): number {
    return this.#view.getUint32(i * CHUNK_ENTRY.size + CHUNK_ENTRY.checksum, true);
  }

  codec(i: number): number {
    return this.#view.getUint16(i * CHUNK_ENTRY.size + CHUNK_ENTRY.codec, true);
  }

  #problem(i: number, header: RecordHeader, dataStart: number, previous: number): string | undefined {
    const pfn = this.pfn(i);
    if (!(pfn < PFN_END)) return 'pfn past 2^52';
    if (pfn <= previous) return `pfn ${hex(pfn)} is not behind ${hex(previous)}`;
    const [offset, length] = [this.offset(i), this.length(i)];
    if (this.codec(i) === CODEC_ZERO) return offset === 0 && length === 0 ? undefined : 'a zero page with stored bytes';
    if (length === 0 || length > header.pageSize) return `${length} stored bytes, page size is ${header.pageSize}`;
    if (this.codec(i) === 0 && length !== header.pageSize) return `raw page of ${length} bytes`;
    return offset < dataStart || offset + length > header.length
      ? `bytes at ${offset} lie outside the record`
      : undefined;
  }
}

/** The entries of an index or a part of one, read in place. */
export class IndexEntries {
  readonly count: number;
  /** The entries' bytes, 32 each: pfn, then the descriptor. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.count = Math.floor(bytes.length / INDEX_ENTRY.size);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  pfn(i: number): number {
    return getU64(this.#view, i * INDEX_ENTRY.size + INDEX_ENTRY.pfn);
  }

  fileOffset(i: number): number {
    return getU64(this.#view, i * INDEX_ENTRY.size + INDEX_ENTRY.fileOffset);
  }

  storedLength(i: number): number {
    return this.#view.getUint32(i * INDEX_ENTRY.size + INDEX_ENTRY.storedLength, true);
  }

  flags(i: number): number {
    return this.#view.getUint32(i * INDEX_ENTRY.size + INDEX_ENTRY.flags, true);
  }

  checksum(i: number): number {
    return this.#view.getUint32(i * INDEX_ENTRY.size + INDEX_ENTRY.proof + PAGE_PROOF.checksum, true);
  }

  /** Low 32 bits of the pfn that the descriptor is for. */
  proofPfn(i: number): number {
    return this.#view.getUint32(i * INDEX_ENTRY.size + INDEX_ENTRY.proof + PAGE_PROOF.pfn, true);
  }
}

/** Pfns lie below this. */
export const PFN_END = 2 ** 52;

/** A u64 as a number; 2^53 and more comes out inexact, and the caller's bound refuses it. */
function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}
