/** One ascending sequence out of many: the index runs of the passes, each read back through a small window. */

import type { Crc32 } from '../../base/crc32.ts';
import { FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import { type IndexEntries, PFN_END } from './log-entries.ts';
import type { IndexRefs } from './log-generation.ts';
import { INDEX_ENTRY, PAGE_PROOF, RECORD } from './log-layout.ts';
import { decodeRecordHeader } from './log-records.ts';

/** Bytes of one run's window. */
const WINDOW_BYTES = 2 ** 16;

/**
 * Index entries in ascending order of pfn. `bytes` and `at` give the current entry (32 bytes: pfn, then the 24-byte descriptor)
 * until the next `advance`; nothing is allocated for an entry.
 */
export class EntryRun {
  /** False behind the last entry. */
  live = true;
  pfn = -1;
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  /** Over `bytes`. */
  view: DataView = new DataView(new ArrayBuffer(0));
  readonly #refill: () => Uint8Array | undefined;

  /** @param refill gives the next entries, whole ones, or `undefined` at the end; begins with its first entry. */
  constructor(refill: () => Uint8Array | undefined) {
    this.#refill = refill;
    this.advance();
  }

  /** @throws FormatError where a pfn is not behind the one before it, and what the refill throws. */
  advance(): void {
    this.at += INDEX_ENTRY.size;
    if (this.at >= this.bytes.length && !this.#load()) return;
    const pfn = this.view.getUint32(this.at + 4, true) * 2 ** 32 + this.view.getUint32(this.at, true);
    if (pfn <= this.pfn || pfn >= PFN_END)
      throw new FormatError('INDEX_ORDER', `index entry of pfn ${hex(pfn)} behind ${hex(Math.max(this.pfn, 0))}`, {
        pfn,
      });
    this.pfn = pfn;
  }

  #load(): boolean {
    const bytes = this.#refill();
    this.at = 0;
    if (bytes === undefined || bytes.length === 0) {
      this.live = false;
      return false;
    }
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return true;
  }
}

/** A run of entries in memory. */
export function looseRun(entries: IndexEntries): EntryRun {
  let bytes: Uint8Array | undefined = entries.bytes;
  return new EntryRun(() => {
    const all = bytes;
    bytes = undefined;
    return all;
  });
}

/** Which index records make a run, and how they are read. */
export interface IndexRunPlan {
  readonly source: ByteSource;
  readonly refs: IndexRefs;
  readonly pass: number;
  /** Index references before this one are not part of the run. Default 0. */
  readonly from?: number;
  /** Records whose pages all lie below this are skipped. Default 0. */
  readonly startPfn?: number;
  readonly crc: Crc32;
  readonly windowBytes?: number;
}

/**
 * The run of one pass: its index records in order. The checksum of each record's lists is proved when its last entry has
 * been read.
 */
export function indexRun(plan: IndexRunPlan): EntryRun {
  const { source, refs, pass, crc, startPfn = 0 } = plan;
  const entriesMax = Math.max(1, Math.floor((plan.windowBytes ?? WINDOW_BYTES) / INDEX_ENTRY.size));
  const window = new Uint8Array(entriesMax * INDEX_ENTRY.size);
  let index = (plan.from ?? 0) - 1;
  let [left, offset, checksum, expected] = [0, 0, 0, 0];
  return new EntryRun(() => {
    if (left === 0) {
      if (checksum !== expected) throw wrongChecksum(refs.offset(index));
      do index++;
      while (index < refs.length && (refs.pass(index) !== pass || refs.lastPfn(index) < startPfn));
      if (index >= refs.length) return undefined;
      left = refs.count(index);
      offset = refs.offset(index) + RECORD.size;
      checksum = 0;
      expected = readListChecksum(source, refs, index, crc);
    }
    const count = Math.min(left, entriesMax);
    const part = window.subarray(0, count * INDEX_ENTRY.size);
    readExactlyInto(source, part, offset, 'index record');
    checksum = crc(part, checksum);
    left -= count;
    offset += part.length;
    return part;
  });
}

/**
 * The checksum of the lists of index record `index`, from its own header.
 *
 * @throws FormatError where the header is not that of the record that the reference names.
 */
export function readListChecksum(source: ByteSource, refs: IndexRefs, index: number, crc: Crc32): number {
  const offset = refs.offset(index);
  const head = new Uint8Array(RECORD.size);
  readExactlyInto(source, head, offset, 'index record');
  const header = decodeRecordHeader(head, offset, crc);
  const fits = header?.kind === 'index' && header.entryCount === refs.count(index) && header.pass === refs.pass(index);
  if (header && fits) return header.listChecksum;
  throw new FormatError('INDEX_RECORD', `no index record of ${refs.count(index)} pages at ${hex(offset)}`, { offset });
}

function wrongChecksum(offset: number): FormatError {
  return new FormatError('INDEX_CHECKSUM', `the checksum of the index record at ${hex(offset)} is wrong`, { offset });
}

/**
 * Several runs as one. `next` moves on and leaves the current entry in `pfn`, `bytes` and `at`; a pfn that more than one
 * run holds comes once, from the first of them.
 */
export class EntryMerge {
  pfn = -1;
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  #view: DataView = new DataView(new ArrayBuffer(0));
  readonly #runs: readonly EntryRun[];
  #current: EntryRun | undefined;

  constructor(runs: readonly EntryRun[]) {
    this.#runs = runs;
  }

  /** False at the end. O(number of runs), at most two for each pass. */
  next(): boolean {
    const last = this.pfn;
    for (;;) {
      this.#current?.advance();
      const lowest = this.#lowest();
      this.#current = lowest;
      if (!lowest) return false;
      if (lowest.pfn === last) continue;
      this.pfn = lowest.pfn;
      this.bytes = lowest.bytes;
      this.at = lowest.at;
      this.#view = lowest.view;
      return true;
    }
  }

  /** Fields of the current entry's descriptor. */
  get fileOffset(): number {
    const at = this.at + INDEX_ENTRY.fileOffset;
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  get storedLength(): number {
    return this.#view.getUint32(this.at + INDEX_ENTRY.storedLength, true);
  }

  get flags(): number {
    return this.#view.getUint32(this.at + INDEX_ENTRY.flags, true);
  }

  get checksum(): number {
    return this.#view.getUint32(this.at + INDEX_ENTRY.proof + PAGE_PROOF.checksum, true);
  }

  /** Low 32 bits of the pfn that the descriptor is for. */
  get proofPfn(): number {
    return this.#view.getUint32(this.at + INDEX_ENTRY.proof + PAGE_PROOF.pfn, true);
  }

  #lowest(): EntryRun | undefined {
    let lowest: EntryRun | undefined;
    for (const run of this.#runs) if (run.live && (!lowest || run.pfn < lowest.pfn)) lowest = run;
    return lowest;
  }
}
