/** Pages that the newest generation does not cover: looked up in the index records and loose chunks behind it. */

import type { Crc32 } from '../../base/crc32.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import type { IndexEntries } from './log-entries.ts';
import { INDEX_ENTRY, PAGE_PROOF, RECORD } from './log-layout.ts';
import { EntryMerge, indexRun, looseRun } from './log-merge.ts';
import type { LogState } from './log-reader.ts';

/** Entries of a block of the cache: 4 KiB. */
const BLOCK_ENTRIES = 128;
const BLOCK_BYTES = BLOCK_ENTRIES * INDEX_ENTRY.size;
/** Blocks of the cache, 256 KiB in all; block n of the device's entries has slot n modulo this. */
const SLOTS = 64;

/** What is known of one stored page. */
export interface PageEntry {
  readonly fileOffset: number;
  readonly storedLength: number;
  readonly flags: number;
  readonly checksum: number;
  /** Low 32 bits of the pfn, as the descriptor keeps them beside the checksum. */
  readonly proofPfn: number;
}

/** The pages of one pass behind the generation. */
interface PassEntries {
  /** Positions in the index directory, ascending in pfn. */
  readonly refs: Uint32Array;
  readonly loose: IndexEntries;
  readonly pass: number;
}

/** The table of what lies behind the newest generation. */
export class NewerPages {
  readonly isEmpty: boolean;
  readonly #source: ByteSource;
  readonly #state: LogState;
  readonly #crc: Crc32;
  readonly #passes: readonly PassEntries[];
  readonly #cache: EntryCache;
  /** Where the last search in an index record ended: reading in order needs no search. */
  #lastRef = -1;
  #lastPosition = 0;

  constructor(source: ByteSource, state: LogState, crc: Crc32) {
    this.#source = source;
    this.#state = state;
    this.#crc = crc;
    this.#cache = new EntryCache(source);
    this.#passes = state.passes.map((_, pass) => ({
      pass,
      refs: Uint32Array.from(refsOfPass(state, pass)),
      loose: state.loose.entries(pass),
    }));
    this.isEmpty = this.#passes.every(({ refs, loose }) => refs.length === 0 && loose.count === 0);
  }

  /** The page's entry, or `undefined` where nothing behind the generation holds it. */
  find(pfn: number): PageEntry | undefined {
    for (const pass of this.#passes) {
      const found = findLoose(pass.loose, pfn) ?? this.#findIndexed(pass, pfn);
      if (found) return found;
    }
    return undefined;
  }

  /** All entries from `startPfn` on, ascending. */
  merge(startPfn: number): EntryMerge {
    const runs = this.#passes.flatMap(({ pass, loose }) => [
      indexRun({
        source: this.#source,
        refs: this.#state.indexes,
        pass,
        from: this.#state.indexesInGeneration,
        startPfn,
        crc: this.#crc,
      }),
      looseRun(loose),
    ]);
    return new EntryMerge(runs.filter((run) => run.live));
  }

  #findIndexed({ refs }: PassEntries, pfn: number): PageEntry | undefined {
    const { indexes } = this.#state;
    const at = lowerBound(refs.length, (i) => indexes.lastPfn(refs[i] as number) >= pfn);
    const ref = refs[at];
    if (ref === undefined || indexes.firstPfn(ref) > pfn) return undefined;
    const start = indexes.offset(ref) + RECORD.size;
    const count = indexes.count(ref);
    const next = this.#lastPosition + 1;
    const inOrder = this.#lastRef === ref && next < count && this.#cache.pfn(start, next, count) === pfn;
    const position = inOrder ? next : lowerBound(count, (i) => this.#cache.pfn(start, i, count) >= pfn);
    if (position >= count || this.#cache.pfn(start, position, count) !== pfn) return undefined;
    this.#lastRef = ref;
    this.#lastPosition = position;
    return this.#cache.entry(start, position, count);
  }
}

/** Blocks of index records, in slots by their place; allocated once. */
class EntryCache {
  readonly #source: ByteSource;
  readonly #bytes = new Uint8Array(SLOTS * BLOCK_BYTES);
  readonly #words = new Uint32Array(this.#bytes.buffer);
  /** Device offset of the block in each slot; −1 = none. */
  readonly #places = new Float64Array(SLOTS).fill(-1);

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** Pfn of entry `i` of the `count` entries that begin at `start`. */
  pfn(start: number, i: number, count: number): number {
    const word = this.#at(start, i, count) / 4;
    return (this.#words[word + 1] as number) * 2 ** 32 + (this.#words[word] as number);
  }

  entry(start: number, i: number, count: number): PageEntry {
    return decodeEntry(this.#bytes, this.#at(start, i, count));
  }

  /** Loads the block of an entry; its place in the cache's bytes. */
  #at(start: number, i: number, count: number): number {
    const block = Math.floor(i / BLOCK_ENTRIES);
    const place = start + block * BLOCK_BYTES;
    const slot = Math.floor(place / BLOCK_BYTES) % SLOTS;
    if (this.#places[slot] !== place) this.#load(slot, place, Math.min(BLOCK_ENTRIES, count - block * BLOCK_ENTRIES));
    return slot * BLOCK_BYTES + (i % BLOCK_ENTRIES) * INDEX_ENTRY.size;
  }

  #load(slot: number, place: number, entries: number): void {
    this.#places[slot] = -1;
    const at = slot * BLOCK_BYTES;
    readExactlyInto(this.#source, this.#bytes.subarray(at, at + entries * INDEX_ENTRY.size), place, 'index record');
    this.#places[slot] = place;
  }
}

function* refsOfPass({ indexes, indexesInGeneration }: LogState, pass: number): Generator<number> {
  for (let i = indexesInGeneration; i < indexes.length; i++) if (indexes.pass(i) === pass) yield i;
}

function findLoose(entries: IndexEntries, pfn: number): PageEntry | undefined {
  const i = lowerBound(entries.count, (at) => entries.pfn(at) >= pfn);
  if (i >= entries.count || entries.pfn(i) !== pfn) return undefined;
  return {
    fileOffset: entries.fileOffset(i),
    storedLength: entries.storedLength(i),
    flags: entries.flags(i),
    checksum: entries.checksum(i),
    proofPfn: entries.proofPfn(i),
  };
}

/** The first index for which `reached` holds, or `count`. */
function lowerBound(count: number, reached: (i: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (reached(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The descriptor of the 32-byte index entry at `at`. */
function decodeEntry(bytes: Uint8Array, at: number): PageEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, INDEX_ENTRY.size);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  return {
    fileOffset: u32(INDEX_ENTRY.fileOffset + 4) * 2 ** 32 + u32(INDEX_ENTRY.fileOffset),
    storedLength: u32(INDEX_ENTRY.storedLength),
    flags: u32(INDEX_ENTRY.flags),
    checksum: u32(INDEX_ENTRY.proof + PAGE_PROOF.checksum),
    proofPfn: u32(INDEX_ENTRY.proof + PAGE_PROOF.pfn),
  };
}
