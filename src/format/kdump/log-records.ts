/** Records of the device's log: the common header, and the rows of a pass table. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor } from '../../base/cursor.ts';
import { FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import {
  CHUNK_ENTRY,
  GENERATION_LAST,
  GENERATION_LISTS_MAX,
  GEOMETRY,
  INDEX_ENTRY,
  LOG_LIMITS,
  NO_PASS,
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

/** What a record's place and dump give to its header. */
export interface RecordPlace {
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly pageSize: number;
  readonly alignment: number;
  readonly offset: number;
  readonly sequence: number;
}

/** A header with no predecessors, entries or lists, for the caller to fill by spreading. */
export function plainHeader(kind: RecordKind, place: RecordPlace, length: number): RecordHeader {
  return {
    ...place,
    kind,
    pass: NO_PASS,
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

/** The error of lists whose checksum is right and whose contents contradict each other. */
export function listError(input: Cursor, offset: number, what: string): FormatError {
  return new FormatError('RECORD_LISTS', `record lists at ${hex(input.fileOffset + offset)}: ${what}`, {
    offset: input.fileOffset + offset,
  });
}
