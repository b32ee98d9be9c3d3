/** Pages that the newest generation does not cover: looked up in the index records and loose chunks behind it. */

import type { Crc32 } from '../../base/crc32.ts';
import type { ByteSource } from '../../base/source.ts';
import { TableWindows } from '../windows.ts';
import { INDEX_ENTRY, PAGE_PROOF, RECORD } from './log-layout.ts';
import { EntryMerge, indexRun, looseRun } from './log-merge.ts';
import type { LogState } from './log-reader.ts';
import type { IndexEntries } from './log-records.ts';

/** Entries of a window of an index record: 32 KiB. */
const WINDOW_ENTRIES = 1024;
/** Windows of one record, and records, that are kept: 512 KiB in all. */
const WINDOWS_MAX = 4;
const RECORDS_MAX = 4;

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
  /** Most recently used first. */
  readonly #records: { ref: number; windows: TableWindows }[] = [];

  constructor(source: ByteSource, state: LogState, crc: Crc32) {
    this.#source = source;
    this.#state = state;
    this.#crc = crc;
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
    const windows = this.#windowsOf(ref);
    const count = indexes.count(ref);
    const position = lowerBound(count, (i) => pfnAt(windows, i) >= pfn);
    return position < count && pfnAt(windows, position) === pfn ? entryAt(windows, position) : undefined;
  }

  #windowsOf(ref: number): TableWindows {
    const at = this.#records.findIndex((record) => record.ref === ref);
    const [known] = at < 0 ? [] : this.#records.splice(at, 1);
    const record = known ?? { ref, windows: this.#openRecord(ref) };
    this.#records.unshift(record);
    if (this.#records.length > RECORDS_MAX) this.#records.pop();
    return record.windows;
  }

  #openRecord(ref: number): TableWindows {
    const { indexes } = this.#state;
    return new TableWindows(this.#source, {
      offset: indexes.offset(ref) + RECORD.size,
      length: indexes.count(ref) * INDEX_ENTRY.size,
      windowBytes: WINDOW_ENTRIES * INDEX_ENTRY.size,
      windowsMax: WINDOWS_MAX,
    });
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

function pfnAt(windows: TableWindows, entry: number): number {
  const { words } = windows.load(Math.floor(entry / WINDOW_ENTRIES));
  const word = ((entry % WINDOW_ENTRIES) * INDEX_ENTRY.size) / 4;
  return (words[word + 1] as number) * 2 ** 32 + (words[word] as number);
}

function entryAt(windows: TableWindows, entry: number): PageEntry {
  const { bytes } = windows.load(Math.floor(entry / WINDOW_ENTRIES));
  return decodeEntry(bytes, (entry % WINDOW_ENTRIES) * INDEX_ENTRY.size);
}

/** The descriptor of the 32-byte index entry at `at`. */
export function decodeEntry(bytes: Uint8Array, at: number): PageEntry {
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
