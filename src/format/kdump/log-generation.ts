/** Generation records: a whole page table of what the log holds so far, with pass table, index directory and run record. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, roundUp } from '../../base/cursor.ts';
import { AssertionError, FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { GENERATION, INDEX_REF, LOG_LIMITS, PASS, RECORD, RUN_RECORD_MAX } from './log-layout.ts';
import { decodePass, encodePass, encodeRecordHeader, type PassRow, type RecordHeader } from './log-records.ts';

/** Where index records lie, in columns, in the order they were written. */
export class IndexRefs {
  #offset = new Float64Array(64);
  #first = new Float64Array(64);
  #last = new Float64Array(64);
  #count = new Uint32Array(64);
  #pass = new Uint8Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** @throws AssertionError past `LOG_LIMITS.indexRefs`. */
  push(offset: number, firstPfn: number, lastPfn: number, count: number, pass: number): void {
    if (this.#length === LOG_LIMITS.indexRefs)
      throw new AssertionError('INDEX_REFS', `more than ${LOG_LIMITS.indexRefs} index records`);
    if (this.#length === this.#offset.length) this.#grow();
    const i = this.#length++;
    this.#offset[i] = offset;
    this.#first[i] = firstPfn;
    this.#last[i] = lastPfn;
    this.#count[i] = count;
    this.#pass[i] = pass;
  }

  offset(i: number): number {
    return this.#offset[i] as number;
  }

  firstPfn(i: number): number {
    return this.#first[i] as number;
  }

  lastPfn(i: number): number {
    return this.#last[i] as number;
  }

  /** Entries of the index record. */
  count(i: number): number {
    return this.#count[i] as number;
  }

  pass(i: number): number {
    return this.#pass[i] as number;
  }

  /** A copy that grows on its own. */
  clone(): IndexRefs {
    const copy = new IndexRefs();
    for (let i = 0; i < this.#length; i++)
      copy.push(this.offset(i), this.firstPfn(i), this.lastPfn(i), this.count(i), this.pass(i));
    return copy;
  }

  #grow(): void {
    const length = Math.min(2 * this.#offset.length, LOG_LIMITS.indexRefs);
    const columns = [new Float64Array(length), new Float64Array(length), new Float64Array(length)] as const;
    columns[0].set(this.#offset);
    columns[1].set(this.#first);
    columns[2].set(this.#last);
    [this.#offset, this.#first, this.#last] = columns;
    const count = new Uint32Array(length);
    const pass = new Uint8Array(length);
    count.set(this.#count);
    pass.set(this.#pass);
    this.#count = count;
    this.#pass = pass;
  }
}

/** A generation's own block and lists. */
export interface GenerationRecord {
  /** Absolute, on a page. */
  readonly bitmap1Offset: number;
  /** Bytes of each bitmap, whole pages and multiples of the record alignment. */
  readonly bitmapBytes: number;
  readonly descriptorsOffset: number;
  /** Bits set in bitmap 2. */
  readonly descriptorCount: number;
  /** Bits set in bitmap 1. */
  readonly presentCount: number;
  /** Zero pages among the stored. */
  readonly zeroCount: number;
  readonly plannedCount: number;
  /** Planned pages that could not be read. */
  readonly holeCount: number;
  readonly bitmap1Checksum: number;
  readonly bitmap2Checksum: number;
  readonly descriptorsChecksum: number;
  readonly passes: readonly PassRow[];
  readonly indexes: IndexRefs;
  /** UTF-8 JSON, at most 1 MiB; see `run-record.ts`. */
  readonly runRecord: Uint8Array;
}

/** Where the parts of a generation at some offset lie, and how long it is. All in bytes. */
export interface GenerationPlan {
  readonly listLength: number;
  readonly bitmap1Offset: number;
  readonly bitmap2Offset: number;
  readonly bitmapBytes: number;
  readonly descriptorsOffset: number;
  /** Of the head with its lists, padded to the alignment: what lies before bitmap 1. */
  readonly headLength: number;
  /** Of the whole record with padding. */
  readonly length: number;
}

/** Bytes of one bitmap: whole pages. */
export function bitmapLength(maxMapnr: number, pageSize: number): number {
  return Math.max(1, Math.ceil(maxMapnr / 8 / pageSize)) * pageSize;
}

/** Lays out a generation that begins at `offset`. */
export function planGeneration(shape: {
  readonly offset: number;
  readonly pageSize: number;
  readonly alignment: number;
  readonly maxMapnr: number;
  readonly descriptorCount: number;
  readonly passCount: number;
  readonly indexCount: number;
  readonly runRecordLength: number;
}): GenerationPlan {
  const { offset, pageSize, alignment } = shape;
  const listLength =
    GENERATION.size + shape.passCount * PASS.size + shape.indexCount * INDEX_REF.size + shape.runRecordLength;
  const headLength = roundUp(RECORD.size + listLength, alignment);
  const bitmapBytes = roundUp(bitmapLength(shape.maxMapnr, pageSize), alignment);
  const bitmap1Offset = offset + headLength;
  const descriptorsOffset = bitmap1Offset + 2 * bitmapBytes;
  return {
    listLength,
    bitmap1Offset,
    bitmap2Offset: bitmap1Offset + bitmapBytes,
    bitmapBytes,
    descriptorsOffset,
    headLength,
    length: roundUp(descriptorsOffset + DESCRIPTOR * shape.descriptorCount - offset, alignment),
  };
}

/** Bytes of a KDUMP page descriptor. */
const DESCRIPTOR = 24;

/**
 * Head and lists with padding up to bitmap 1, to be written after the body. `header` needs its place, pass, `last` and
 * predecessors; lengths, lists and checksums are filled in here.
 */
export function encodeGenerationHead(
  header: RecordHeader,
  generation: GenerationRecord,
  crc: Crc32 = crc32,
): Uint8Array {
  const { passes, indexes, runRecord } = generation;
  if (passes.length > LOG_LIMITS.passes || runRecord.length > RUN_RECORD_MAX)
    throw new AssertionError(
      'GENERATION_LIMITS',
      `generation with ${passes.length} passes and a run record of ${runRecord.length} bytes`,
    );
  const listLength = GENERATION.size + passes.length * PASS.size + indexes.length * INDEX_REF.size + runRecord.length;
  const head = new Uint8Array(roundUp(RECORD.size + listLength, header.alignment));
  if (generation.bitmap1Offset !== header.offset + head.length)
    throw new AssertionError(
      'GENERATION_PLACE',
      `bitmap 1 at ${hex(generation.bitmap1Offset)} does not follow the head`,
    );
  const lists = head.subarray(RECORD.size, RECORD.size + listLength);
  encodeBlock(generation, lists);
  const passesEnd = encodePasses(passes, lists);
  encodeRefs(indexes, lists, passesEnd);
  lists.set(runRecord, passesEnd + indexes.length * INDEX_REF.size);
  const end = generation.descriptorsOffset + DESCRIPTOR * generation.descriptorCount;
  const length = roundUp(end - header.offset, header.alignment);
  encodeRecordHeader({ ...header, length, listLength, entryCount: 0, listChecksum: crc(lists) }, head, crc);
  return head;
}

function encodeBlock(generation: GenerationRecord, lists: Uint8Array): void {
  const out = new BlockWriter(lists);
  out.u64(GENERATION.bitmap1Offset, generation.bitmap1Offset);
  out.u64(GENERATION.bitmapBytes, generation.bitmapBytes);
  out.u64(GENERATION.descriptorsOffset, generation.descriptorsOffset);
  out.u64(GENERATION.descriptorCount, generation.descriptorCount);
  out.u64(GENERATION.presentCount, generation.presentCount);
  out.u64(GENERATION.zeroCount, generation.zeroCount);
  out.u64(GENERATION.plannedCount, generation.plannedCount);
  out.u64(GENERATION.holeCount, generation.holeCount);
  out.u32(GENERATION.bitmap1Checksum, generation.bitmap1Checksum);
  out.u32(GENERATION.bitmap2Checksum, generation.bitmap2Checksum);
  out.u32(GENERATION.descriptorsChecksum, generation.descriptorsChecksum);
  out.u32(GENERATION.passCount, generation.passes.length);
  out.u32(GENERATION.indexCount, generation.indexes.length);
  out.u32(GENERATION.runRecordLength, generation.runRecord.length);
}

function encodePasses(passes: readonly PassRow[], lists: Uint8Array): number {
  const out = new BlockWriter(lists);
  let at: number = GENERATION.size;
  for (const row of passes) {
    encodePass(row, out, at);
    at += PASS.size;
  }
  return at;
}

function encodeRefs(indexes: IndexRefs, lists: Uint8Array, start: number): void {
  const out = new BlockWriter(lists);
  for (let i = 0, at = start; i < indexes.length; i++, at += INDEX_REF.size) {
    out.u64(at + INDEX_REF.offset, indexes.offset(i));
    out.u64(at + INDEX_REF.firstPfn, indexes.firstPfn(i));
    out.u64(at + INDEX_REF.lastPfn, indexes.lastPfn(i));
    out.u32(at + INDEX_REF.count, indexes.count(i));
    out.u32(at + INDEX_REF.pass, indexes.pass(i));
  }
}

/**
 * The generation whose lists (already proved by their checksum) follow `header`.
 *
 * @throws FormatError where counts, offsets or lengths contradict each other.
 */
export function decodeGenerationLists(header: RecordHeader, lists: Uint8Array): GenerationRecord {
  const input = new Cursor(lists, header.offset + RECORD.size);
  const passCount = input.u32(GENERATION.passCount);
  const indexCount = input.u32(GENERATION.indexCount);
  const runRecordLength = input.u32(GENERATION.runRecordLength);
  const refsAt = GENERATION.size + passCount * PASS.size;
  const runAt = refsAt + indexCount * INDEX_REF.size;
  if (passCount > LOG_LIMITS.passes || indexCount > LOG_LIMITS.indexRefs || runRecordLength > RUN_RECORD_MAX)
    throw generationError(header, `${passCount} passes, ${indexCount} indexes, run record of ${runRecordLength} bytes`);
  if (runAt + runRecordLength !== lists.length)
    throw generationError(header, `lists of ${runAt + runRecordLength} bytes in ${lists.length}`);
  const generation: GenerationRecord = {
    bitmap1Offset: input.u64(GENERATION.bitmap1Offset),
    bitmapBytes: input.u64(GENERATION.bitmapBytes),
    descriptorsOffset: input.u64(GENERATION.descriptorsOffset),
    descriptorCount: input.u64(GENERATION.descriptorCount),
    presentCount: input.u64(GENERATION.presentCount),
    zeroCount: input.u64(GENERATION.zeroCount),
    plannedCount: input.u64(GENERATION.plannedCount),
    holeCount: input.u64(GENERATION.holeCount),
    bitmap1Checksum: input.u32(GENERATION.bitmap1Checksum),
    bitmap2Checksum: input.u32(GENERATION.bitmap2Checksum),
    descriptorsChecksum: input.u32(GENERATION.descriptorsChecksum),
    passes: Array.from({ length: passCount }, (_, i) => decodePass(input, GENERATION.size + i * PASS.size)),
    indexes: decodeRefs(header, input, refsAt, indexCount),
    runRecord: input.slice(runAt, runRecordLength).slice(),
  };
  checkPlaces(header, generation);
  return generation;
}

function checkPlaces(header: RecordHeader, generation: GenerationRecord): void {
  const { bitmap1Offset, bitmapBytes, descriptorsOffset, descriptorCount, presentCount } = generation;
  if (bitmap1Offset !== header.offset + roundUp(RECORD.size + header.listLength, header.alignment))
    throw generationError(header, `bitmap 1 at ${hex(bitmap1Offset)} does not follow its head`);
  if (bitmapBytes === 0 || bitmapBytes % header.pageSize !== 0 || descriptorsOffset !== bitmap1Offset + 2 * bitmapBytes)
    throw generationError(header, `bitmaps of ${bitmapBytes} bytes, descriptors at ${hex(descriptorsOffset)}`);
  if (presentCount > bitmapBytes * 8 || descriptorCount > bitmapBytes * 8)
    throw generationError(header, `${descriptorCount} of ${presentCount} pages in bitmaps of ${bitmapBytes} bytes`);
  const end = descriptorsOffset + DESCRIPTOR * descriptorCount;
  if (header.length !== roundUp(end - header.offset, header.alignment))
    throw generationError(header, `${descriptorCount} descriptors in a record of ${header.length} bytes`);
}

function decodeRefs(header: RecordHeader, input: Cursor, start: number, count: number): IndexRefs {
  const refs = new IndexRefs();
  for (let i = 0, at = start; i < count; i++, at += INDEX_REF.size) {
    const offset = input.u64(at + INDEX_REF.offset);
    const [first, last] = [input.u64(at + INDEX_REF.firstPfn), input.u64(at + INDEX_REF.lastPfn)];
    const entries = input.u32(at + INDEX_REF.count);
    const pass = input.u32(at + INDEX_REF.pass);
    if (offset >= header.offset || first > last || pass >= LOG_LIMITS.passes)
      throw generationError(header, `index reference ${i} at ${hex(offset)} is out of bounds`);
    if (entries === 0 || entries > LOG_LIMITS.indexEntries || entries > last - first + 1)
      throw generationError(header, `index reference ${i} counts ${entries} entries`);
    refs.push(offset, first, last, entries, pass);
  }
  return refs;
}

function generationError(header: RecordHeader, what: string): FormatError {
  return new FormatError('GENERATION', `generation at ${hex(header.offset)}: ${what}`, { offset: header.offset });
}
