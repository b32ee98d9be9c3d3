/** Block 0, the sub header and the notes of a KDUMP file: read once at opening, validated, trusted afterwards. */

import { Cursor } from '../../base/cursor.ts';
import { FormatError, UnsupportedError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactly } from '../../base/source.ts';
import { type Note, walkNotes } from '../notes.ts';
import type { Utsname } from '../vmcore.ts';
import {
  bitmapBytes,
  KDUMP_HEADER,
  KDUMP_HEADER_32,
  KDUMP_STATUS,
  KDUMP_SUB_HEADER,
  KDUMP_VERSION,
  readHeaderUtsname,
} from './layout.ts';

/** What the headers say. Offsets in bytes of the file. */
export interface KdumpHeader {
  readonly version: number;
  readonly utsname: Utsname;
  readonly timestampSeconds: number | undefined;
  readonly incomplete: boolean;
  readonly pageSize: number;
  readonly cpuCount: number;
  readonly maxMapnr: number;
  readonly bitmap1Offset: number;
  /** Equal to `bitmap1Offset` in files with one bitmap. */
  readonly bitmap2Offset: number;
  readonly descriptorsOffset: number;
  readonly physBase: number | undefined;
  readonly dumpLevel: number;
  readonly notes: readonly Note[];
  readonly vmcoreinfo: Uint8Array | undefined;
}

const PAGE_SIZE_MIN = 4096;
const PAGE_SIZE_MAX = 65536;
/** Physical addresses have at most 52 bits. */
const MAX_MAPNR_END = 2 ** 40;
/** Notes of 8,192 CPUs are 3 MB. */
const NOTES_MAX = 16 * 2 ** 20;
/** The kernel's vmcoreinfo is one page. */
const VMCOREINFO_MAX = 2 ** 20;

/**
 * Reads the headers.
 *
 * @throws UnsupportedError for version 0, versions past 6, 32-bit and big-endian machines, and members of a split set;
 * FormatError where the numbers contradict each other or the file.
 */
export function readKdumpHeader(source: ByteSource): KdumpHeader {
  const block = new Cursor(readExactly(source, 0, KDUMP_HEADER.size, 'KDUMP header'));
  checkMachine(block, source.name);
  const pageSize = block.u32(KDUMP_HEADER.blockSize);
  const version = block.s32(KDUMP_HEADER.version);
  const sub = new Cursor(readExactly(source, pageSize, KDUMP_SUB_HEADER.size, 'KDUMP sub header'), pageSize);
  if (version >= 2) checkSplit(sub, source.name);
  const maxMapnr = version >= 6 ? sub.u64(KDUMP_SUB_HEADER.maxMapnr64) : block.u32(KDUMP_HEADER.maxMapnr);
  const notesBytes = version >= 4 ? readNotes(source, sub) : new Uint8Array(0);
  return {
    version,
    utsname: readHeaderUtsname(block),
    timestampSeconds: safeNumber(block.bigS64(KDUMP_HEADER.timestampSeconds)),
    incomplete: (block.u32(KDUMP_HEADER.status) & KDUMP_STATUS.incomplete) !== 0,
    pageSize,
    cpuCount: block.s32(KDUMP_HEADER.nrCpus),
    maxMapnr,
    ...placeTables(block, pageSize, maxMapnr),
    physBase: safeNumber(sub.bigS64(KDUMP_SUB_HEADER.physBase)),
    dumpLevel: sub.s32(KDUMP_SUB_HEADER.dumpLevel),
    notes: walkNotes(notesBytes),
    vmcoreinfo: version >= 3 ? readVmcoreinfo(source, sub) : undefined,
  };
}

/**
 * Refuses what is not a little-endian 64-bit machine of version 1 to 6, by name.
 *
 * No field tells byte order or word size. The 64-bit positions are tried first: the fields that a 32-bit header has
 * at those places are zero, and libkdumpfile, which tries 32 bits first, takes some microsecond values for a header.
 */
function checkMachine(block: Cursor, name: string): void {
  const version = block.s32(KDUMP_HEADER.version);
  if (isKnownVersion(block) && plausible(block, KDUMP_HEADER)) {
    if (version >= 1) return;
    throw unsupported(name, 'KDUMP header version 0 (it cannot tell zero pages from excluded ones)', { version });
  }
  if (isKnownVersion(block) && plausible(block, KDUMP_HEADER_32))
    throw unsupported(name, 'KDUMP of a 32-bit machine', { wordSize: 4 });
  const swapped = new Cursor(block.bytes, 0, false);
  if (isKnownVersion(swapped) && (plausible(swapped, KDUMP_HEADER) || plausible(swapped, KDUMP_HEADER_32))) {
    throw unsupported(name, 'KDUMP of a big-endian machine', { littleEndian: false });
  }
  if (version > KDUMP_VERSION && version < 256 && plausible(block, KDUMP_HEADER)) {
    throw unsupported(name, `KDUMP header version ${version}`, { version });
  }
  const blockSize = block.u32(KDUMP_HEADER.blockSize);
  throw new FormatError(
    'KDUMP_HEADER',
    `KDUMP header of ${name}: version ${version} with blocks of ${blockSize} bytes, expected version 1 to ${KDUMP_VERSION} and ` +
      `a power of two from ${PAGE_SIZE_MIN} to ${PAGE_SIZE_MAX}`,
    { version, blockSize },
  );
}

function isKnownVersion(block: Cursor): boolean {
  const version = block.s32(KDUMP_HEADER.version);
  return version >= 0 && version <= KDUMP_VERSION;
}

type HeaderPlaces = { readonly [K in 'blockSize' | 'bitmapBlocks' | 'maxMapnr']: number };

/** Is there a legal page size, and a bitmap that covers max_mapnr, at these places? */
function plausible(block: Cursor, places: HeaderPlaces): boolean {
  const blockSize = block.u32(places.blockSize);
  const bitmapBlocks = block.u32(places.bitmapBlocks);
  if (blockSize < PAGE_SIZE_MIN || blockSize > PAGE_SIZE_MAX || (blockSize & (blockSize - 1)) !== 0) return false;
  return bitmapBlocks > 0 && 8 * bitmapBlocks * blockSize >= block.u32(places.maxMapnr);
}

function unsupported(name: string, what: string, data: Record<string, number | boolean>): UnsupportedError {
  return new UnsupportedError(
    'KDUMP_VARIANT',
    `${name}: ${what} is not read yet`,
    data,
    'crash opens it; `makedumpfile` rewrites most files as version 6',
  );
}

function checkSplit(sub: Cursor, name: string): void {
  if (sub.s32(KDUMP_SUB_HEADER.split) === 0) return;
  throw new UnsupportedError(
    'KDUMP_SPLIT',
    `${name}: one file of a set made by makedumpfile --split is not read yet`,
    {},
    'put the set together first: `makedumpfile --reassemble PART… OUT`',
  );
}

/** Where bitmaps and descriptors lie; one bitmap where the area holds no more (crash's rule). */
function placeTables(
  block: Cursor,
  pageSize: number,
  maxMapnr: number,
): { bitmap1Offset: number; bitmap2Offset: number; descriptorsOffset: number } {
  const subHdrSize = block.s32(KDUMP_HEADER.subHdrSize);
  const bitmapBlocks = block.u32(KDUMP_HEADER.bitmapBlocks);
  const bitmapArea = bitmapBlocks * pageSize;
  const one = bitmapBytes(maxMapnr, pageSize);
  if (subHdrSize < 1 || maxMapnr < 1 || maxMapnr >= MAX_MAPNR_END || one > bitmapArea) {
    throw new FormatError(
      'KDUMP_TABLES',
      `KDUMP header: max_mapnr ${hex(maxMapnr)} with ${bitmapBlocks} bitmap blocks and ${subHdrSize} sub header blocks ` +
        `of ${pageSize} bytes`,
      { maxMapnr, bitmapBlocks, subHdrSize, pageSize },
    );
  }
  const bitmap1Offset = (1 + subHdrSize) * pageSize;
  const bitmap2Offset = bitmapArea >= 2 * one ? bitmap1Offset + Math.floor(bitmapBlocks / 2) * pageSize : bitmap1Offset;
  return { bitmap1Offset, bitmap2Offset, descriptorsOffset: bitmap1Offset + bitmapArea };
}

function readNotes(source: ByteSource, sub: Cursor): Uint8Array {
  const offset = sub.u64(KDUMP_SUB_HEADER.offsetNote);
  const size = sub.u64(KDUMP_SUB_HEADER.sizeNote);
  if (offset === 0 || size === 0) return new Uint8Array(0);
  checkBlob(source, 'notes', offset, size, NOTES_MAX);
  return readExactly(source, offset, size, 'KDUMP notes');
}

function readVmcoreinfo(source: ByteSource, sub: Cursor): Uint8Array | undefined {
  const offset = sub.u64(KDUMP_SUB_HEADER.offsetVmcoreinfo);
  const size = sub.u64(KDUMP_SUB_HEADER.sizeVmcoreinfo);
  if (offset === 0 || size === 0) return undefined;
  checkBlob(source, 'vmcoreinfo', offset, size, VMCOREINFO_MAX);
  return readExactly(source, offset, size, 'vmcoreinfo');
}

function checkBlob(source: ByteSource, what: string, offset: number, size: number, max: number): void {
  if (size <= max && offset + size <= source.size) return;
  throw new FormatError(
    'KDUMP_BLOB',
    `KDUMP sub header of ${source.name}: ${what} of ${size} bytes at offset ${hex(offset)}, at most ${max} bytes within ` +
      `${source.size} are possible`,
    { what, offset, size, max, fileSize: source.size },
  );
}

function safeNumber(value: bigint): number | undefined {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
