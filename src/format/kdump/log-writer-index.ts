/** The index record that is growing: descriptors of what was written since the last one, with room for their header. */

import type { Crc32 } from '../../base/crc32.ts';
import { roundUp } from '../../base/cursor.ts';
import { INDEX_ENTRY, RECORD } from './log-layout.ts';

/** What an index record says of its lists. */
export interface IndexFacts {
  /** The whole record, its header still to be filled; good until the next entry. */
  readonly record: Uint8Array;
  readonly listLength: number;
  readonly count: number;
  readonly firstPfn: number;
  readonly lastPfn: number;
  readonly checksum: number;
}

/** Collects entries of one pass at a time, ascending. */
export class IndexBuffer {
  /** Entries so far, all of {@link pass}. */
  count = 0;
  pass = 0;
  /** Where a chunk writes its entries, from {@link end} on; {@link take} then counts them. */
  readonly view: DataView;
  readonly #bytes: Uint8Array;
  readonly #capacity: number;
  readonly #alignment: number;

  /** @param capacity most entries. @param bytes of a record with that many. */
  constructor(capacity: number, bytes: number, alignment: number) {
    this.#capacity = capacity;
    this.#alignment = alignment;
    this.#bytes = new Uint8Array(bytes);
    this.view = new DataView(this.#bytes.buffer);
  }

  get isFull(): boolean {
    return this.count === this.#capacity;
  }

  /** Entries that still go in. */
  get room(): number {
    return this.#capacity - this.count;
  }

  /** Offset of the next entry in {@link view}. */
  get end(): number {
    return RECORD.size + this.count * INDEX_ENTRY.size;
  }

  /** Counts entries that were written at {@link end}. */
  take(entries: number): void {
    this.count += entries;
  }

  /** Appends one entry in its stored form. */
  put(entry: Uint8Array): void {
    this.#bytes.set(entry, this.end);
    this.count++;
  }

  /** Ends the record, which must have entries; the next one begins empty. */
  close(crc: Crc32): IndexFacts {
    const { count, end } = this;
    const record = this.#bytes.subarray(0, roundUp(end, this.#alignment));
    record.fill(0, end);
    const [firstPfn, lastPfn] = [this.#pfn(0), this.#pfn(count - 1)];
    this.count = 0;
    const checksum = crc(record.subarray(RECORD.size, end));
    return { record, listLength: end - RECORD.size, count, firstPfn, lastPfn, checksum };
  }

  #pfn(entry: number): number {
    const at = RECORD.size + entry * INDEX_ENTRY.size + INDEX_ENTRY.pfn;
    return this.view.getUint32(at + 4, true) * 2 ** 32 + this.view.getUint32(at, true);
  }
}
