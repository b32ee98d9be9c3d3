/**
 * The kdump-compressed format, byte by byte: common header, sub header, page descriptor, and how each is written.
 *
 * Integers are in the byte order of the crashed machine. Block = one page of the crashed machine. Our writers make
 * version 6, 64-bit, little-endian. Checked with the corpus: makedumpfile 1.7.2 to 1.7.9, QEMU 7.2.
 */

import { BlockWriter, type Cursor, roundUp } from '../../base/cursor.ts';
import { readUtsnameAt, writeUtsnameAt } from '../utsname.ts';
import type { Utsname } from '../vmcore.ts';

/** First eight bytes of block 0: `KDUMP` and three spaces. Source: makedumpfile 1.7.9 `diskdump_mod.h`, `KDUMP_SIGNATURE`. */
export const KDUMP_SIGNATURE = 'KDUMP   ';
/** Newest header version known, and the one we write. Since makedumpfile 1.5.5. */
export const KDUMP_VERSION = 6;

/**
 * Common header, block 0, as a 64-bit machine lays it out.
 * Source: makedumpfile 1.7.9 `diskdump_mod.h`, `struct disk_dump_header`.
 */
export const KDUMP_HEADER = {
  size: 464,
  signature: 0, //         8 bytes
  version: 8, //           s32  0..6
  utsname: 12, //          390 bytes, 6 bytes of padding behind
  timestampSeconds: 408, //s64  crash or dump time
  timestampFraction: 416, //s64  microseconds; we write 0, libkdumpfile takes some values for a 32-bit header
  status: 424, //          u32  STATUS bits
  blockSize: 428, //       s32  page size in bytes
  subHdrSize: 432, //      s32  blocks between block 0 and bitmap 1
  bitmapBlocks: 436, //    u32  of both bitmaps together
  maxMapnr: 440, //        u32  min(first pfn past memory, 2^32 − 1)
  totalRamBlocks: 444, //  u32  0
  deviceBlocks: 448, //    u32  0
  writtenBlocks: 452, //   u32  0
  currentCpu: 456, //      u32  0
  nrCpus: 460, //          s32  number of NT_PRSTATUS notes
} as const;

/** Where a 32-bit machine keeps the fields that tell the word size. Source: the same struct with 4-byte `long`. */
export const KDUMP_HEADER_32 = { size: 452, blockSize: 416, bitmapBlocks: 424, maxMapnr: 428 } as const;

/** Bits of the header's `status` besides the codecs' (CODEC_FLAG). Source: makedumpfile 1.7.9 `diskdump_mod.h`. */
export const KDUMP_STATUS = {
  /** Not all pages that the bitmaps promise are there. Since makedumpfile 1.5.7. */
  incomplete: 0x08,
  /** Unused vmemmap pages were left out. Since 1.5.9. */
  excludedVmemmap: 0x10,
} as const;

/**
 * Sub header, block 1, 64-bit. Fields beyond the header's version are not there.
 * Source: makedumpfile 1.7.9 `diskdump_mod.h`, `struct kdump_sub_header`.
 */
export const KDUMP_SUB_HEADER = {
  size: 104,
  physBase: 0, //          s64  since 0
  dumpLevel: 8, //         s32  since 1, makedumpfile -d
  split: 12, //            s32  since 2, 1 = part of a set
  startPfn: 16, //         u64  since 2, obsolete from 6 on
  endPfn: 24, //           u64  since 2, obsolete from 6 on
  offsetVmcoreinfo: 32, // s64  since 3; from 4 on it points into the notes
  sizeVmcoreinfo: 40, //   u64  since 3
  offsetNote: 48, //       s64  since 4
  sizeNote: 56, //         u64  since 4
  offsetEraseinfo: 64, //  s64  since 5
  sizeEraseinfo: 72, //    u64  since 5
  startPfn64: 80, //       u64  since 6
  endPfn64: 88, //         u64  since 6
  maxMapnr64: 96, //       u64  since 6
} as const;

/**
 * Page descriptor: one for each bit set in bitmap 2, in pfn order.
 * Source: makedumpfile 1.7.9 `diskdump_mod.h`, `page_desc_t`.
 */
export const PAGE_DESC = {
  size: 24,
  offset: 0, //     s64  file offset of the stored bytes; 0 = page lost (incomplete dump)
  length: 8, //     u32  stored bytes, 1..blockSize
  flags: 12, //     u32  CODEC_FLAG; 0 = stored raw
  pageFlags: 16, // u64  0 from makedumpfile and QEMU; PAGE_PROOF of log-layout.ts from us
} as const;

/** `dump_level` bit: zero pages share one stored page. Source: makedumpfile 1.7.9 `makedumpfile.h`, `DL_EXCLUDE_ZERO`. */
export const DUMP_LEVEL_ZERO = 1;

/** What a version 6 common header says that varies from dump to dump. */
export interface KdumpHeaderFields {
  readonly utsname: Utsname;
  /** Whole seconds since 1970. */
  readonly timestampSeconds: number;
  /** KDUMP_STATUS and CODEC_FLAG bits. */
  readonly status: number;
  /** Page size in bytes. */
  readonly blockSize: number;
  /** Blocks between block 0 and bitmap 1, below 2^31. */
  readonly subHdrSize: number;
  /** Blocks of both bitmaps together. */
  readonly bitmapBlocks: number;
  /** First pfn past memory; the header's own field is capped. */
  readonly maxMapnr: number;
  /** NT_PRSTATUS notes; 1 where there are none, as makedumpfile does. */
  readonly cpuCount: number;
}

/** What a version 6 sub header says that varies. Offsets are absolute; offset 0 with size 0 = absent. */
export interface KdumpSubHeaderFields {
  /** May be negative. */
  readonly physBase: number;
  readonly dumpLevel: number;
  readonly notesOffset: number;
  readonly notesLength: number;
  /** Of the VMCOREINFO note's descriptor, inside the notes. */
  readonly vmcoreinfoOffset: number;
  readonly vmcoreinfoLength: number;
  readonly maxMapnr: number;
}

/** Fills `block` (at least 464 bytes) with a version 6 common header; the rest becomes zero. */
export function encodeKdumpHeader(block: Uint8Array, fields: KdumpHeaderFields): void {
  const writer = new BlockWriter(block);
  block.fill(0);
  for (let i = 0; i < KDUMP_SIGNATURE.length; i++) writer.u8(KDUMP_HEADER.signature + i, KDUMP_SIGNATURE.charCodeAt(i));
  writer.s32(KDUMP_HEADER.version, KDUMP_VERSION);
  writeUtsnameAt(writer, KDUMP_HEADER.utsname, fields.utsname);
  writer.u64(KDUMP_HEADER.timestampSeconds, fields.timestampSeconds);
  writer.u64(KDUMP_HEADER.timestampFraction, 0);
  writer.u32(KDUMP_HEADER.status, fields.status);
  writer.s32(KDUMP_HEADER.blockSize, fields.blockSize);
  writer.s32(KDUMP_HEADER.subHdrSize, fields.subHdrSize);
  writer.u32(KDUMP_HEADER.bitmapBlocks, fields.bitmapBlocks);
  writer.u32(KDUMP_HEADER.maxMapnr, Math.min(fields.maxMapnr, 0xffffffff));
  writer.s32(KDUMP_HEADER.nrCpus, fields.cpuCount);
}

/** Fills `block` (at least 104 bytes) with a version 6 sub header of an unsplit dump; the rest becomes zero. */
export function encodeSubHeader(block: Uint8Array, fields: KdumpSubHeaderFields): void {
  const writer = new BlockWriter(block);
  block.fill(0);
  writer.big(KDUMP_SUB_HEADER.physBase, BigInt(fields.physBase));
  writer.s32(KDUMP_SUB_HEADER.dumpLevel, fields.dumpLevel);
  writer.u64(KDUMP_SUB_HEADER.offsetVmcoreinfo, fields.vmcoreinfoOffset);
  writer.u64(KDUMP_SUB_HEADER.sizeVmcoreinfo, fields.vmcoreinfoLength);
  writer.u64(KDUMP_SUB_HEADER.offsetNote, fields.notesOffset);
  writer.u64(KDUMP_SUB_HEADER.sizeNote, fields.notesLength);
  writer.u64(KDUMP_SUB_HEADER.maxMapnr64, fields.maxMapnr);
}

/**
 * Writes one descriptor at `at` of a table; no allocation.
 *
 * @param proofLow low half of `page_flags`: the page's CRC-32, or 0.
 * @param proofHigh high half of `page_flags`: the low 32 bits of the pfn, or 0.
 */
export function putPageDesc(
  table: DataView,
  at: number,
  offset: number,
  length: number,
  flags: number,
  proofLow: number,
  proofHigh: number,
): void {
  table.setUint32(at + PAGE_DESC.offset, offset % 2 ** 32, true);
  table.setUint32(at + PAGE_DESC.offset + 4, Math.floor(offset / 2 ** 32), true);
  table.setUint32(at + PAGE_DESC.length, length, true);
  table.setUint32(at + PAGE_DESC.flags, flags, true);
  table.setUint32(at + PAGE_DESC.pageFlags, proofLow, true);
  table.setUint32(at + PAGE_DESC.pageFlags + 4, proofHigh, true);
}

/** Bytes of one bitmap over `maxMapnr` pages, whole blocks. */
export function bitmapBytes(maxMapnr: number, blockSize: number): number {
  return roundUp(Math.ceil(maxMapnr / 8), blockSize);
}

/** The utsname of a common header. */
export function readHeaderUtsname(header: Cursor): Utsname {
  return readUtsnameAt(header, KDUMP_HEADER.utsname);
}
