/** Reading single records of the log: a header with its lists, a generation by its bitmap, the body's checksums. */

import type { Crc32 } from '../../base/crc32.ts';
import { Cursor, roundDown } from '../../base/cursor.ts';
import { DeviceError, FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { ByteSource } from '../../base/source.ts';
import { sameBytes } from './label.ts';
import { KDUMP_HEADER, KDUMP_SIGNATURE, PAGE_DESC } from './layout.ts';
import { decodeGenerationLists, type GenerationRecord } from './log-generation.ts';
import { GENERATION_LISTS_MAX, GEOMETRY, LOG_LIMITS, RECORD } from './log-layout.ts';
import { decodeRecordHeader, type RecordHeader } from './log-records.ts';
import { decodeStartLists, type StartRecord } from './log-start.ts';

/** Which records are ours, and up to where. */
export interface LogScope {
  readonly source: ByteSource;
  /** U, 16 bytes. */
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  /** End of the log on the device. */
  readonly dataEnd: number;
  readonly crc: Crc32;
}

/** One read serves a header with the lists of a usual chunk. */
const HEAD_BYTES = 16 * 1024;
/** Bytes of one read when a body is proved or a head is searched. */
const WINDOW_BYTES = 2 ** 18;

/** What lies at a place of the log. */
export type RecordProbe =
  | { readonly found: 'record'; readonly header: RecordHeader }
  | { readonly found: 'foreign'; readonly header: RecordHeader }
  | { readonly found: 'nothing'; readonly why: string };

/** Reads headers and lists through one buffer that is used again and again. */
export class RecordReader {
  readonly scope: LogScope;
  #buffer: Uint8Array = new Uint8Array(HEAD_BYTES);
  #start = -1;
  #length = 0;
  #window: Uint8Array | undefined;

  constructor(scope: LogScope) {
    this.scope = scope;
  }

  /** One window of 256 KiB for whoever reads a stretch of the log just now. */
  get window(): Uint8Array {
    this.#window ??= new Uint8Array(WINDOW_BYTES);
    return this.#window;
  }

  /** The record at `offset`: ours, one of another dump, or nothing. @throws DeviceError `ETIMEDOUT` of a dead device. */
  probe(offset: number): RecordProbe {
    const { dataEnd, crc } = this.scope;
    if (offset + GEOMETRY.recordAlignMin > dataEnd) return { found: 'nothing', why: 'the end of the log area' };
    const bytes = this.#tryBytes(offset, GEOMETRY.recordAlignMin);
    if (typeof bytes === 'string') return { found: 'nothing', why: bytes };
    const header = decodeRecordHeader(bytes, offset, crc);
    if (!header) return { found: 'nothing', why: 'no record header' };
    if (!this.isOurs(header)) return { found: 'foreign', header };
    return header.offset + header.length > dataEnd
      ? { found: 'nothing', why: 'a record past the end of the log' }
      : { found: 'record', header };
  }

  isOurs(header: RecordHeader): boolean {
    return header.part === this.scope.part && sameBytes(header.dumpUuid, this.scope.dumpUuid);
  }

  /**
   * The lists of a record, proved by their checksum, or why they can't be had. Shared with the reader's buffer, which
   * for long lists is made for the purpose.
   */
  lists(header: RecordHeader): Uint8Array | string {
    const bytes = this.#tryBytes(header.offset, RECORD.size + header.listLength);
    return typeof bytes === 'string' ? bytes : this.proveLists(header, bytes);
  }

  /** The lists in the bytes of a record, proved by their checksum, or why they can't be had. */
  proveLists(header: RecordHeader, record: Uint8Array): Uint8Array | string {
    const lists = record.subarray(RECORD.size, RECORD.size + header.listLength);
    return this.scope.crc(lists) === header.listChecksum ? lists : 'the checksum of its lists is wrong';
  }

  /** A whole record of bounded length (a chunk), or why it can't be had. Shared with the buffer. */
  whole(header: RecordHeader): Uint8Array | string {
    return this.#tryBytes(header.offset, header.length);
  }

  #tryBytes(offset: number, length: number): Uint8Array | string {
    try {
      return this.#bytes(offset, length);
    } catch (error) {
      return readFailure(error);
    }
  }

  #bytes(offset: number, length: number): Uint8Array {
    if (offset >= this.#start && offset + length <= this.#start + this.#length)
      return this.#buffer.subarray(offset - this.#start, offset - this.#start + length);
    const wanted = Math.max(length, Math.min(HEAD_BYTES, this.scope.dataEnd - offset));
    if (wanted > LOG_LIMITS.chunkBytes) return readWhole(this.scope.source, new Uint8Array(wanted), offset);
    if (this.#buffer.length < wanted)
      this.#buffer = new Uint8Array(wanted <= HEAD_BYTES * 8 ? HEAD_BYTES * 8 : LOG_LIMITS.chunkBytes);
    this.#start = -1;
    const got = this.#fill(offset, length, wanted);
    this.#start = offset;
    this.#length = got;
    return this.#buffer.subarray(0, length);
  }

  /** Fills the buffer with `wanted` bytes, or, where a bad sector lies in what was not asked for, with `length`. */
  #fill(offset: number, length: number, wanted: number): number {
    try {
      readWhole(this.scope.source, this.#buffer.subarray(0, wanted), offset);
      return wanted;
    } catch (error) {
      if (wanted === length) throw error;
      readFailure(error);
    }
    readWhole(this.scope.source, this.#buffer.subarray(0, length), offset);
    return length;
  }
}

/**
 * Why a read failed, for a medium that may still give other places.
 *
 * @throws the error itself when it is a bug, or when the device is dead.
 */
export function readFailure(error: unknown): string {
  if (error instanceof DeviceError && error.failure.errno !== 'ETIMEDOUT') return error.message;
  if (error instanceof FormatError) return error.message;
  throw error;
}

function readWhole(source: ByteSource, target: Uint8Array, offset: number): Uint8Array {
  const got = source.readInto(target, offset);
  if (got === target.length) return target;
  throw new FormatError(
    'TRUNCATED',
    `${source.name} ends ${target.length - got} bytes into a record at ${hex(offset)}`,
    {
      offset,
    },
  );
}

/** A start record with its header. */
export interface FoundStart {
  readonly header: RecordHeader;
  readonly record: StartRecord;
}

/** Why there is no start record. One that can't be read is not the same as one that is not there. */
export interface NoStart {
  readonly problem: string;
  readonly unreadable: boolean;
}

/** The start record, or why there is none. */
export function readStart({ scope }: RecordReader): FoundStart | NoStart {
  try {
    const found = parseStart(scope);
    return typeof found === 'string' ? { problem: found, unreadable: false } : found;
  } catch (error) {
    return { problem: readFailure(error), unreadable: error instanceof DeviceError };
  }
}

function parseStart(scope: LogScope): FoundStart | string {
  const { source, crc, dumpUuid, part } = scope;
  const head = readWhole(source, new Uint8Array(GEOMETRY.recordAlignMin), GEOMETRY.logStart);
  const header = decodeRecordHeader(head, GEOMETRY.logStart, crc);
  if (!header) return 'no start record';
  if (header.kind !== 'start') return `a ${header.kind} record lies in the start record's place`;
  if (header.part !== part || !sameBytes(header.dumpUuid, dumpUuid)) return 'the start record is of another dump';
  if (header.offset + header.length > scope.dataEnd) return 'the start record is longer than the log';
  const lists = readWhole(source, new Uint8Array(header.listLength), header.offset + RECORD.size);
  if (crc(lists) !== header.listChecksum) return 'the checksum of the start record is wrong';
  return { header, record: decodeStartLists(header, lists) };
}

/** A generation with its header. */
export interface FoundGeneration {
  readonly header: RecordHeader;
  readonly record: GenerationRecord;
}

/** The generation whose header was found, or why its lists are no good. The body is not looked at. */
export function readGeneration(reader: RecordReader, header: RecordHeader): FoundGeneration | string {
  if (header.kind !== 'generation') return `a ${header.kind} record, expected a generation`;
  const lists = reader.lists(header);
  if (typeof lists === 'string') return lists;
  try {
    return { header, record: decodeGenerationLists(header, lists) };
  } catch (error) {
    return readFailure(error);
  }
}

/**
 * The generation that block 0 names. Block 0 gives the offset of bitmap 1; the generation's head ends right before it, at
 * most {@link GENERATION_LISTS_MAX} away, so the search goes back from there, boundary by boundary.
 */
export function findHintedGeneration(reader: RecordReader): FoundGeneration | undefined {
  const bitmap1 = readHint(reader.scope.source);
  if (bitmap1 === undefined || bitmap1 > reader.scope.dataEnd) return undefined;
  const lowest = Math.max(GEOMETRY.logStart, bitmap1 - GENERATION_LISTS_MAX - RECORD.size - LOG_LIMITS.alignment);
  const { window } = reader;
  for (let end = bitmap1, size = 2 ** 14; end > lowest; size = Math.min(4 * size, WINDOW_BYTES)) {
    const start = Math.max(lowest, roundDown(end - size, GEOMETRY.recordAlignMin));
    const found = searchWindow(reader, window.subarray(0, end - start), start, bitmap1);
    if (found) return found;
    end = start;
  }
  return undefined;
}

function searchWindow(
  reader: RecordReader,
  window: Uint8Array,
  start: number,
  bitmap1: number,
): FoundGeneration | undefined {
  const { source, crc } = reader.scope;
  try {
    readWhole(source, window, start);
  } catch (error) {
    readFailure(error);
    return undefined;
  }
  for (let at = window.length - GEOMETRY.recordAlignMin; at >= 0; at -= GEOMETRY.recordAlignMin) {
    const header = decodeRecordHeader(window.subarray(at, at + RECORD.size), start + at, crc);
    if (header?.kind !== 'generation' || !reader.isOurs(header)) continue;
    const generation = readGeneration(reader, header);
    if (typeof generation !== 'string' && generation.record.bitmap1Offset === bitmap1) return generation;
  }
  return undefined;
}

/** Offset of bitmap 1 by block 0, or `undefined` where block 0 is no KDUMP header. */
function readHint(source: ByteSource): number | undefined {
  const block = new Uint8Array(512);
  try {
    readWhole(source, block, 0);
  } catch (error) {
    readFailure(error);
    return undefined;
  }
  const header = new Cursor(block);
  for (let i = 0; i < KDUMP_SIGNATURE.length; i++) if (block[i] !== KDUMP_SIGNATURE.charCodeAt(i)) return undefined;
  const pageSize = header.u32(KDUMP_HEADER.blockSize);
  const blocks = header.s32(KDUMP_HEADER.subHdrSize);
  const legal = pageSize >= 4096 && pageSize <= 65536 && (pageSize & (pageSize - 1)) === 0 && blocks > 0;
  return legal ? (1 + blocks) * pageSize : undefined;
}

/** Proves bitmaps and descriptors of a generation by their checksums; a sentence where one is wrong. Reads all of them. */
export function proveGeneration(reader: RecordReader, { header, record }: FoundGeneration): string | undefined {
  const parts = [
    ['bitmap 1', record.bitmap1Offset, record.bitmapBytes, record.bitmap1Checksum],
    ['bitmap 2', record.bitmap1Offset + record.bitmapBytes, record.bitmapBytes, record.bitmap2Checksum],
    ['descriptors', record.descriptorsOffset, record.descriptorCount * PAGE_DESC.size, record.descriptorsChecksum],
  ] as const;
  for (const [name, offset, length, expected] of parts) {
    const found = checksumOf(reader, offset, length);
    if (typeof found === 'string') return `generation at ${hex(header.offset)}: ${name}: ${found}`;
    if (found !== expected) return `generation at ${hex(header.offset)}: the checksum of its ${name} is wrong`;
  }
  return undefined;
}

/** Fills `target`; where a bad sector is in it, block by block, with zeros for what can't be read. */
export function readAround(source: ByteSource, target: Uint8Array, offset: number): void {
  try {
    readWhole(source, target, offset);
    return;
  } catch (error) {
    readFailure(error);
  }
  for (let at = 0; at < target.length; at += GEOMETRY.recordAlignMin) {
    const block = target.subarray(at, at + GEOMETRY.recordAlignMin);
    try {
      readWhole(source, block, offset + at);
    } catch (error) {
      readFailure(error);
      block.fill(0);
    }
  }
}

/** CRC-32 of a region read in windows, or why it can't be read. */
export function checksumOf({ scope, window }: RecordReader, offset: number, length: number): number | string {
  const { source, crc } = scope;
  let checksum = 0;
  try {
    for (let done = 0; done < length; done += window.length) {
      const part = window.subarray(0, Math.min(window.length, length - done));
      checksum = crc(readWhole(source, part, offset + done), checksum);
    }
  } catch (error) {
    return readFailure(error);
  }
  return checksum;
}
