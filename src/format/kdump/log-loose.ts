/** Pages of chunks that no index covers yet: a bounded table of index entries, with the chunks they came from. */

import { type ChunkEntries, IndexEntries, putIndexEntry } from './log-entries.ts';
import { CODEC_ZERO, INDEX_ENTRY, LOG_LIMITS } from './log-layout.ts';

/** Most pages that wait for an index: one whole interval and the chunk that passes it, for each of two open passes. */
const LOOSE_MAX = 2 * (LOG_LIMITS.indexEntries + LOG_LIMITS.chunkEntries);

/**
 * Entries in the order of the log, so ascending within each pass. Grows as needed; the largest interval (2^18 pages) takes
 * 8 MiB, the default one (2^16) 2 MiB.
 */
export class LooseEntries {
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #passes = new Uint8Array(0);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  /** The entries, 32 bytes each, as an index record would hold them; of one pass where `pass` is given, copied then. */
  entries(pass?: number): IndexEntries {
    if (pass === undefined) return new IndexEntries(this.#bytes.subarray(0, this.#count * INDEX_ENTRY.size));
    const bytes = new Uint8Array(this.countOf(pass) * INDEX_ENTRY.size);
    for (let i = 0, at = 0; i < this.#count; i++) {
      if (this.#passes[i] !== pass) continue;
      bytes.set(this.#bytes.subarray(i * INDEX_ENTRY.size, (i + 1) * INDEX_ENTRY.size), at);
      at += INDEX_ENTRY.size;
    }
    return new IndexEntries(bytes);
  }

  countOf(pass: number): number {
    let count = 0;
    for (let i = 0; i < this.#count; i++) if (this.#passes[i] === pass) count++;
    return count;
  }

  /** Pass of entry `i`. */
  pass(i: number): number {
    return this.#passes[i] as number;
  }

  /** Lowest and highest pfn of a pass's entries. */
  span(pass: number): { readonly first: number; readonly last: number } | undefined {
    const entries = this.entries();
    let first: number | undefined;
    let last = 0;
    for (let i = 0; i < this.#count; i++) {
      if (this.#passes[i] !== pass) continue;
      last = entries.pfn(i);
      first ??= last;
    }
    return first === undefined ? undefined : { first, last };
  }

  /** Takes a chunk's entries; false, and nothing taken, when they would be more than any log leaves without an index. */
  addChunk(chunk: ChunkEntries, pass: number, recordOffset: number, pageSize: number): boolean {
    if (this.#count + chunk.count > LOOSE_MAX) return false;
    this.#reserve(this.#count + chunk.count);
    for (let i = 0; i < chunk.count; i++) {
      const zero = chunk.codec(i) === CODEC_ZERO;
      putIndexEntry(
        this.#view,
        this.#count * INDEX_ENTRY.size,
        chunk.pfn(i),
        zero ? 2 * pageSize : recordOffset + chunk.offset(i),
        zero ? pageSize : chunk.length(i),
        zero ? 0 : chunk.codec(i),
        chunk.checksum(i),
      );
      this.#passes[this.#count++] = pass;
    }
    return true;
  }

  /** Forgets the entries of a pass: an index covers them now. */
  dropPass(pass: number): void {
    let kept = 0;
    for (let i = 0; i < this.#count; i++) {
      if (this.#passes[i] === pass) continue;
      if (kept !== i) {
        this.#bytes.copyWithin(kept * INDEX_ENTRY.size, i * INDEX_ENTRY.size, (i + 1) * INDEX_ENTRY.size);
        this.#passes[kept] = this.#passes[i] as number;
      }
      kept++;
    }
    this.#count = kept;
  }

  clear(): void {
    this.#count = 0;
  }

  #reserve(count: number): void {
    if (count <= this.#passes.length) return;
    const room = Math.min(LOOSE_MAX, Math.max(count, 2 * this.#passes.length, 4096));
    const bytes = new Uint8Array(room * INDEX_ENTRY.size);
    const passes = new Uint8Array(room);
    bytes.set(this.#bytes);
    passes.set(this.#passes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.#passes = passes;
  }
}
