/** Records of the device's log: the common header, and the lists of start, chunk and index records. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, roundUp } from '../../base/cursor.ts';
import { AssertionError, FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Range } from '../../base/ranges.ts';
import type { Utsname } from '../vmcore.ts';
import {
  CHUNK_ENTRY,
  CODEC_ZERO,
  GENERATION_LAST,
  GENERATION_LISTS_MAX,
  GEOMETRY,
  INDEX_ENTRY,
  LOG_LIMITS,
  PAGE_PROOF,
  PASS,
  RANGE,
  RECORD,
  RECORD_KIND,
  START,
} from './log-layout.ts';

export type RecordKind = keyof typeof RECORD_KIND;

/** The common header of every record. */
export interface RecordHeader {
  readonly kind: RecordKind;
  /** Index into the pass table, or `NO_PASS`. */
  readonly pass: number;
  /** Of a generation: every planned page is in it. */
  readonly last: boolean;
  /** U, 16 bytes. */
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly pageSize: number;
  /** From 1 for each U and device. */
  readonly sequence: number;
  /** Own offset on the device. */
  readonly offset: number;
  /** Whole record with padding (and body, of a generation). */
  readonly length: number;
  /** Offsets on the device, 0 = none. */
  readonly previousRecord: number;
  readonly previousGeneration: number;
  readonly previousIndex: number;
  /** Bytes of the lists, which follow the header at once. */
  readonly listLength: number;
  /** Entries of a chunk or an index, else 0. */
  readonly entryCount: number;
  /** A: records of this log lie on multiples of it. */
  readonly alignment: number;
  /** Lowest and highest pfn of a chunk's or an index's entries. */
  readonly firstPfn: number | undefined;
  readonly lastPfn: number | undefined;
  /** CRC-32 of the lists. */
  readonly listChecksum: number;
}

const MAGIC = 'DDRECORD';
const VERSION = 1;
const KIND_NAMES = new Map(Object.entries(RECORD_KIND).map(([name, value]) => [value as number, name as RecordKind]));
const START_LISTS_MAX =
  START.size + LOG_LIMITS.ranges * RANGE.size + LOG_LIMITS.passes * PASS.size + LOG_LIMITS.notesBytes;

/** A = max(page size, 4 KiB, logical block). */
export function recordAlignment(pageSize: number, logicalBlock: number): number {
  return Math.max(pageSize, GEOMETRY.recordAlignMin, logicalBlock);
}

/** Writes the 128-byte header at the start of `target`, its own checksum included. */
export function encodeRecordHeader(header: RecordHeader, target: Uint8Array, crc: Crc32 = crc32): void {
  const out = new BlockWriter(target);
  for (let i = 0; i < 8; i++) target[RECORD.magic + i] = MAGIC.charCodeAt(i);
  out.u16(RECORD.version, VERSION);
  out.u16(RECORD.kind, RECORD_KIND[header.kind]);
  out.u16(RECORD.pass, header.pass);
  out.u16(RECORD.flags, header.last ? GENERATION_LAST : 0);
  out.put(RECORD.dumpUuid, header.dumpUuid);
  out.u32(RECORD.part, header.part);
  out.u32(RECORD.pageSize, header.pageSize);
  out.u64(RECORD.sequence, header.sequence);
  out.u64(RECORD.offset, header.offset);
  out.u64(RECORD.length, header.length);
  out.u64(RECORD.previousRecord, header.previousRecord);
  out.u64(RECORD.previousGeneration, header.previousGeneration);
  out.u64(RECORD.previousIndex, header.previousIndex);
  out.u64(RECORD.listLength, header.listLength);
  out.u32(RECORD.entryCount, header.entryCount);
  out.u32(RECORD.alignment, header.alignment);
  putPfn(out, RECORD.firstPfn, header.firstPfn);
  putPfn(out, RECORD.lastPfn, header.lastPfn);
  out.u32(RECORD.listChecksum, header.listChecksum);
  out.u32(RECORD.headerChecksum, crc(target.subarray(0, RECORD.headerChecksum)));
}

/**
 * The header of a record that lies at `offset` of the device, or `undefined` where there is none: no magic, a wrong
 * checksum, another place, or counts and lengths that no record has. `bytes` holds at least 128 bytes. The caller compares U.
 */
export function decodeRecordHeader(bytes: Uint8Array, offset: number, crc: Crc32 = crc32): RecordHeader | undefined {
  for (let i = 0; i < 8; i++) if (bytes[RECORD.magic + i] !== MAGIC.charCodeAt(i)) return undefined;
  const input = new Cursor(bytes.subarray(0, RECORD.size), offset);
  if (input.u32(RECORD.headerChecksum) !== crc(bytes.subarray(0, RECORD.headerChecksum))) return undefined;
  const kind = KIND_NAMES.get(input.u16(RECORD.kind));
  if (input.u16(RECORD.version) !== VERSION || kind === undefined || !numbersFit(input)) return undefined;
  const header: RecordHeader = {
    kind,
    pass: input.u16(RECORD.pass),
    last: kind === 'generation' && (input.u16(RECORD.flags) & GENERATION_LAST) !== 0,
    dumpUuid: input.slice(RECORD.dumpUuid, 16).slice(),
    part: input.u32(RECORD.part),
    pageSize: input.u32(RECORD.pageSize),
    sequence: input.u64(RECORD.sequence),
    offset: input.u64(RECORD.offset),
    length: input.u64(RECORD.length),
    previousRecord: input.u64(RECORD.previousRecord),
    previousGeneration: input.u64(RECORD.previousGeneration),
    previousIndex: input.u64(RECORD.previousIndex),
    listLength: input.u64(RECORD.listLength),
    entryCount: input.u32(RECORD.entryCount),
    alignment: input.u32(RECORD.alignment),
    firstPfn: getPfn(input, RECORD.firstPfn),
    lastPfn: getPfn(input, RECORD.lastPfn),
    listChecksum: input.u32(RECORD.listChecksum),
  };
  return header.offset === offset && headerFits(header) ? header : undefined;
}

/** True for every u64 of the header that must be an exact number. */
function numbersFit(input: Cursor): boolean {
  const fields = [RECORD.sequence, RECORD.offset, RECORD.length, RECORD.previousRecord, RECORD.previousGeneration];
  return [...fields, RECORD.previousIndex, RECORD.listLength].every((at) => input.u32(at + 4) < 0x200000);
}

function headerFits(header: RecordHeader): boolean {
  const { alignment, pageSize, offset, length, listLength, entryCount, kind, pass } = header;
  if (!isPowerOfTwo(alignment, GEOMETRY.recordAlignMin, LOG_LIMITS.alignment)) return false;
  if (!isPowerOfTwo(pageSize, 4096, 65536) || pageSize > alignment) return false;
  if (offset % alignment !== 0 || length % alignment !== 0 || offset < GEOMETRY.logStart) return false;
  if (length < RECORD.size + listLength || offset + length > GEOMETRY.dataEnd) return false;
  if (header.sequence === 0 || header.previousRecord >= offset) return false;
  if (header.previousGeneration >= offset || header.previousIndex >= offset) return false;
  if (kind === 'start') return listLength >= START.size && listLength <= START_LISTS_MAX;
  if (kind === 'generation') return listLength <= GENERATION_LISTS_MAX;
  const { firstPfn, lastPfn } = header;
  if (pass >= LOG_LIMITS.passes || entryCount === 0) return false;
  if (firstPfn === undefined || lastPfn === undefined || firstPfn > lastPfn) return false;
  if (kind === 'index') return entryCount <= LOG_LIMITS.indexEntries && listLength === entryCount * INDEX_ENTRY.size;
  return (
    length <= LOG_LIMITS.chunkBytes &&
    entryCount <= LOG_LIMITS.chunkEntries &&
    listLength === entryCount * CHUNK_ENTRY.size
  );
}

function isPowerOfTwo(value: number, low: number, high: number): boolean {
  return value >= low && value <= high && (value & (value - 1)) === 0;
}

function putPfn(out: BlockWriter, offset: number, pfn: number | undefined): void {
  if (pfn === undefined) out.big(offset, -1n);
  else out.u64(offset, pfn);
}

function getPfn(input: Cursor, offset: number): number | undefined {
  return input.u32(offset + 4) < 0x100000 ? input.u64(offset) : undefined;
}

/** One row of the pass table. */
export interface PassRow {
  /** At most 15 ASCII characters. */
  readonly name: string;
  /** Pages. */
  readonly planned: number;
  readonly stored: number;
  /** Planned pages that could not be read. */
  readonly holes: number;
  /** Index records of this pass so far. */
  readonly indexes: number;
  readonly state: 'notBegun' | 'begun' | 'done';
}

const PASS_STATES = ['notBegun', 'begun', 'done'] as const;

/** Writes one row at `offset` of `out`. */
export function encodePass(row: PassRow, out: BlockWriter, offset: number): void {
  out.text(offset + PASS.name, 16, row.name);
  out.u64(offset + PASS.planned, row.planned);
  out.u64(offset + PASS.stored, row.stored);
  out.u64(offset + PASS.holes, row.holes);
  out.u64(offset + PASS.indexes, row.indexes);
  out.u32(offset + PASS.state, PASS_STATES.indexOf(row.state));
}

/** The row at `offset`. @throws FormatError. */
export function decodePass(input: Cursor, offset: number): PassRow {
  const state = PASS_STATES[input.u32(offset + PASS.state)];
  if (state === undefined) throw listError(input, offset, `pass state ${input.u32(offset + PASS.state)} is unknown`);
  return {
    name: input.text(offset + PASS.name, 16),
    planned: input.u64(offset + PASS.planned),
    stored: input.u64(offset + PASS.stored),
    holes: input.u64(offset + PASS.holes),
    indexes: input.u64(offset + PASS.indexes),
    state,
  };
}

/** What stage 1 writes before the first page: the machine and the plan. */
export interface StartRecord {
  readonly maxMapnr: number;
  /** Signed. */
  readonly physBase: number;
  /** When stage 1 began, ms since 1970. */
  readonly wallMs: number;
  /** 16 bytes; zeros unless captured over /proc/vmcore. */
  readonly bootId: Uint8Array;
  /** The machine's PT_NOTE bytes, as they are. */
  readonly notes: Uint8Array;
  /** Absolute offset of the notes: KDUMP's offset_note. Set by {@link encodeStartRecord}. */
  readonly notesOffset: number;
  /** VMCOREINFO's descriptor, from the start of the notes; length 0 = none. */
  readonly vmcoreinfo: { readonly offset: number; readonly length: number };
  readonly dumpLevel: number;
  /** KDUMP flag of the codec. */
  readonly codec: number;
  /** Pfns that exist, sorted and disjoint. */
  readonly ranges: readonly Range[];
  /** The pass table: planned pages known, the rest zero. */
  readonly passes: readonly PassRow[];
  /** NT_PRSTATUS notes. */
  readonly cpuCount: number;
  /** As `MACHINE_KIND` numbers them. */
  readonly machineKind: number;
  /** Of the dead kernel. */
  readonly utsname: Utsname;
  readonly chunkBytes: number;
  readonly chunkEntries: number;
  /** Pages between two indexes of one pass. */
  readonly indexInterval: number;
  /** CRASHTIME of vmcoreinfo, seconds since 1970; 0 = unknown. */
  readonly crashSeconds: number;
  /** 32 bytes. */
  readonly armedDigest: Uint8Array;
  /** At most 63 Latin-1 characters. */
  readonly machineName: string;
}

/** What a record's place and dump give to its header. */
export interface RecordPlace {
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly pageSize: number;
  readonly alignment: number;
  readonly offset: number;
  readonly sequence: number;
}

/** Bytes of the start record with padding. */
export function startRecordLength(start: StartShape, alignment: number): number {
  return roundUp(RECORD.size + startListLength(start), alignment);
}

/** The parts of a start record that give it its size. */
export type StartShape = Pick<StartRecord, 'ranges' | 'passes' | 'notes'>;

function startListLength({ ranges, passes, notes }: StartShape): number {
  return START.size + ranges.length * RANGE.size + passes.length * PASS.size + notes.length;
}

/** Where the notes of a start record at `offset` lie on the device: KDUMP's offset_note. */
export function startNotesOffset(offset: number, start: StartShape): number {
  return offset + RECORD.size + startListLength(start) - start.notes.length;
}

/** The whole start record, header and padding included; `notesOffset` of `start` is computed, not read. */
export function encodeStartRecord(
  start: Omit<StartRecord, 'notesOffset'>,
  place: RecordPlace,
  crc: Crc32 = crc32,
): Uint8Array {
  const { ranges, passes, notes } = start;
  if (ranges.length > LOG_LIMITS.ranges || passes.length > LOG_LIMITS.passes || notes.length > LOG_LIMITS.notesBytes)
    throw new AssertionError(
      'START_LIMITS',
      `start record with ${ranges.length} ranges, ${passes.length} passes, ${notes.length} bytes of notes`,
    );
  const record = new Uint8Array(startRecordLength(start, place.alignment));
  const lists = record.subarray(RECORD.size, RECORD.size + startListLength(start));
  encodeStartBlock(start, startNotesOffset(place.offset, start), lists);
  const out = new BlockWriter(lists);
  let at: number = START.size;
  for (const range of ranges) {
    out.u64(at + RANGE.start, range.start);
    out.u64(at + RANGE.end, range.end);
    at += RANGE.size;
  }
  for (const row of passes) {
    encodePass(row, out, at);
    at += PASS.size;
  }
  lists.set(notes, at);
  encodeRecordHeader(
    { ...plainHeader('start', place, record.length), listLength: lists.length, listChecksum: crc(lists) },
    record,
    crc,
  );
  return record;
}

/** A header with no predecessors, entries or lists, for the caller to fill by spreading. */
export function plainHeader(kind: RecordKind, place: RecordPlace, length: number): RecordHeader {
  return {
    ...place,
    kind,
    pass: 0xffff,
    last: false,
    length,
    previousRecord: 0,
    previousGeneration: 0,
    previousIndex: 0,
    listLength: 0,
    entryCount: 0,
    firstPfn: undefined,
    lastPfn: undefined,
    listChecksum: 0,
  };
}

function encodeStartBlock(start: Omit<StartRecord, 'notesOffset'>, notesOffset: number, lists: Uint8Array): void {
  const out = new BlockWriter(lists);
  const { vmcoreinfo } = start;
  out.u64(START.maxMapnr, start.maxMapnr);
  out.big(START.physBase, BigInt(start.physBase));
  out.u64(START.wallMs, start.wallMs);
  out.put(START.bootId, start.bootId);
  out.u64(START.notesOffset, notesOffset);
  out.u64(START.notesLength, start.notes.length);
  out.u64(START.vmcoreinfoOffset, vmcoreinfo.length === 0 ? 0 : notesOffset + vmcoreinfo.offset);
  out.u64(START.vmcoreinfoLength, vmcoreinfo.length);
  out.u32(START.dumpLevel, start.dumpLevel);
  out.u32(START.codec, start.codec);
  out.u32(START.rangeCount, start.ranges.length);
  out.u32(START.passCount, start.passes.length);
  out.u32(START.cpuCount, start.cpuCount);
  out.u32(START.machineKind, start.machineKind);
  UTSNAME_FIELDS.forEach((field, i) => {
    out.text(START.utsname + 65 * i, 65, start.utsname[field]);
  });
  out.u32(START.chunkBytes, start.chunkBytes);
  out.u32(START.chunkEntries, start.chunkEntries);
  out.u32(START.indexInterval, start.indexInterval);
  out.u64(START.crashSeconds, start.crashSeconds);
  out.put(START.armedDigest, start.armedDigest);
  out.text(START.machineName, 64, start.machineName);
}

/** `struct new_utsname`, six strings of 65 bytes, in this order. */
const UTSNAME_FIELDS = ['sysname', 'nodename', 'release', 'version', 'machine', 'domainname'] as const;

/**
 * The start record whose lists (already proved by their checksum) follow `header`.
 *
 * @throws FormatError where counts, sizes or order contradict the lists.
 */
export function decodeStartLists(header: RecordHeader, lists: Uint8Array): StartRecord {
  const input = new Cursor(lists, header.offset + RECORD.size);
  const rangeCount = input.u32(START.rangeCount);
  const passCount = input.u32(START.passCount);
  const notesLength = input.u64(START.notesLength);
  if (rangeCount > LOG_LIMITS.ranges || passCount > LOG_LIMITS.passes || notesLength > LOG_LIMITS.notesBytes)
    throw listError(
      input,
      0,
      `${rangeCount} ranges, ${passCount} passes and ${notesLength} bytes of notes are out of bounds`,
    );
  const passesAt = START.size + rangeCount * RANGE.size;
  const notesAt = passesAt + passCount * PASS.size;
  if (notesAt + notesLength !== lists.length)
    throw listError(input, 0, `lists of ${notesAt + notesLength} bytes in ${lists.length}`);
  const notesOffset = input.u64(START.notesOffset);
  if (notesOffset !== header.offset + RECORD.size + notesAt)
    throw listError(input, START.notesOffset, `notes at ${hex(notesOffset)} are not behind the passes`);
  const maxMapnr = input.u64(START.maxMapnr);
  return {
    maxMapnr,
    physBase: input.s64(START.physBase),
    wallMs: input.u64(START.wallMs),
    bootId: input.slice(START.bootId, 16).slice(),
    notes: input.slice(notesAt, notesLength).slice(),
    notesOffset,
    vmcoreinfo: decodeVmcoreinfo(input, notesOffset, notesLength),
    dumpLevel: input.u32(START.dumpLevel),
    codec: input.u32(START.codec),
    ranges: decodeRanges(input, rangeCount, maxMapnr),
    passes: Array.from({ length: passCount }, (_, i) => decodePass(input, passesAt + i * PASS.size)),
    cpuCount: input.u32(START.cpuCount),
    machineKind: input.u32(START.machineKind),
    utsname: decodeUtsname(input, START.utsname),
    ...decodeParameters(input),
    crashSeconds: input.u64(START.crashSeconds),
    armedDigest: input.slice(START.armedDigest, 32).slice(),
    machineName: input.text(START.machineName, 64),
  };
}

function decodeParameters(input: Cursor): Pick<StartRecord, 'chunkBytes' | 'chunkEntries' | 'indexInterval'> {
  return {
    chunkBytes: input.u32(START.chunkBytes),
    chunkEntries: input.u32(START.chunkEntries),
    indexInterval: input.u32(START.indexInterval),
  };
}

function decodeVmcoreinfo(input: Cursor, notesOffset: number, notesLength: number): StartRecord['vmcoreinfo'] {
  const length = input.u64(START.vmcoreinfoLength);
  if (length === 0) return { offset: 0, length: 0 };
  const offset = input.u64(START.vmcoreinfoOffset) - notesOffset;
  if (offset < 0 || offset + length > notesLength)
    throw listError(input, START.vmcoreinfoOffset, `vmcoreinfo of ${length} bytes lies outside the notes`);
  return { offset, length };
}

function decodeRanges(input: Cursor, count: number, maxMapnr: number): Range[] {
  const ranges: Range[] = [];
  let previousEnd = 0;
  for (let at: number = START.size; ranges.length < count; at += RANGE.size) {
    const range = { start: input.u64(at + RANGE.start), end: input.u64(at + RANGE.end) };
    if (range.start < previousEnd || range.end <= range.start || range.end > maxMapnr)
      throw listError(
        input,
        at,
        `memory range ${hex(range.start)}-${hex(range.end)} is out of order or past ${hex(maxMapnr)}`,
      );
    previousEnd = range.end;
    ranges.push(range);
  }
  return ranges;
}

function decodeUtsname(input: Cursor, offset: number): Utsname {
  const [sysname, nodename, release, version, machine, domainname] = UTSNAME_FIELDS.map((_, i) =>
    input.text(offset + 65 * i, 65),
  ) as [string, string, string, string, string, string];
  return { sysname, nodename, release, version, machine, domainname };
}

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
}

/** Pfns lie below this. */
export const PFN_END = 2 ** 52;

/** A u64 as a number; 2^53 and more comes out inexact, and the caller's bound refuses it. */
function getU64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

function listError(input: Cursor, offset: number, what: string): FormatError {
  return new FormatError('RECORD_LISTS', `record lists at ${hex(input.fileOffset + offset)}: ${what}`, {
    offset: input.fileOffset + offset,
  });
}
