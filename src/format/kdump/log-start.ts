/** The start record: the machine and the plan, on the device before the first page. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, roundUp } from '../../base/cursor.ts';
import { AssertionError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Range } from '../../base/ranges.ts';
import { readUtsnameAt, writeUtsnameAt } from '../utsname.ts';
import type { Utsname } from '../vmcore.ts';
import { LOG_LIMITS, PASS, RANGE, RECORD, START } from './log-layout.ts';
import {
  decodePass,
  encodePass,
  encodeRecordHeader,
  listError,
  type PassRow,
  plainHeader,
  type RecordHeader,
  type RecordPlace,
} from './log-records.ts';

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

/** Bytes of the start record with padding. */
function startRecordLength(start: StartShape, alignment: number): number {
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
  writeUtsnameAt(out, START.utsname, start.utsname);
  out.u32(START.chunkBytes, start.chunkBytes);
  out.u32(START.chunkEntries, start.chunkEntries);
  out.u32(START.indexInterval, start.indexInterval);
  out.u64(START.crashSeconds, start.crashSeconds);
  out.put(START.armedDigest, start.armedDigest);
  out.text(START.machineName, 64, start.machineName);
}

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
    utsname: readUtsnameAt(input, START.utsname),
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
