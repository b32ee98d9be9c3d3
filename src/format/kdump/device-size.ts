/** How large a dump device has to be: the least that is accepted, and what a dump of all memory takes. */

import { roundUp } from '../../base/cursor.ts';
import { bitmapLength } from './log-generation.ts';
import {
  GENERATION,
  GEOMETRY,
  INDEX_ENTRY,
  INDEX_REF,
  LOG_PARAMETERS,
  PASS,
  RANGE,
  RECORD,
  START,
} from './log-layout.ts';
import { recordAlignment } from './log-records.ts';

/** A machine as far as it decides the size of its dump. */
export interface MachineSize {
  /** Bytes: a power of two from 4096 to 65536. */
  readonly pageSize: number;
  /** First pfn past the end of memory. */
  readonly maxMapnr: number;
  /** Pages of memory. */
  readonly pages: number;
  /** Pages of pass 0; {@link FIRST_PASS_PAGES} where it is not known. */
  readonly firstPassPages?: number;
  /** NT_PRSTATUS notes: one for each CPU. */
  readonly cpus?: number;
  /** Memory ranges. */
  readonly ranges?: number;
}

/** The device's side of it. */
export interface DeviceShape {
  /** Logical block in bytes. */
  readonly blockSize: number;
  readonly logAreaBytes?: number;
}

/** An estimate for pass 0: log buffer, vmcoreinfo pages, page-table roots and what other tools read at start. */
export const FIRST_PASS_PAGES = 4096;

/** Bytes of one CPU's register note, and of VMCOREINFO. */
const CPU_NOTE_BYTES = 360;
const VMCOREINFO_NOTE_BYTES = 8192;
/** Kept in every generation for the run record. */
const RUN_RECORD_BYTES = 65536;
const PASSES = 2;
const DESCRIPTOR = 24;

/**
 * Bytes below which a device is refused: head, start record, pass 0 with its index and generation, a closing generation,
 * log area and labels; a multiple of 64 KiB.
 */
export function requiredBytes(machine: MachineSize, shape: DeviceShape): number {
  const pages = Math.min(machine.firstPassPages ?? FIRST_PASS_PAGES, machine.pages);
  const log =
    startBytes(machine, shape) + dataBytes(pages, machine, shape) + 2 * generationBytes(pages, machine, shape);
  return wholeDevice(log, shape);
}

/** Bytes that a dump of all memory takes when no page is zero and none compresses, in whole 64 KiB. */
export function fullBytes(machine: MachineSize, shape: DeviceShape): number {
  const first = Math.min(machine.firstPassPages ?? FIRST_PASS_PAGES, machine.pages);
  const log =
    startBytes(machine, shape) +
    dataBytes(machine.pages, machine, shape) +
    generationBytes(first, machine, shape) +
    generationBytes(machine.pages, machine, shape);
  return wholeDevice(log, shape);
}

/** Blocks of one page each, as the original counted them. */
export interface TotalBlocks {
  readonly total: number;
  /** Everything that is neither bitmap nor memory: head, records' heads, tables, log area, labels. */
  readonly header: number;
  /** Bitmaps of the first and the last generation. */
  readonly bitmap: number;
  /** Pages of memory. */
  readonly memory: number;
}

/** The blocks that a dump of all memory takes. */
export function totalBlocks(machine: MachineSize, shape: DeviceShape): TotalBlocks {
  const total = Math.ceil(fullBytes(machine, shape) / machine.pageSize);
  const bitmap = 4 * (bitmapLength(machine.maxMapnr, machine.pageSize) / machine.pageSize);
  return { total, bitmap, memory: machine.pages, header: total - bitmap - machine.pages };
}

/** The original's line at load. Source: Linux 2.6.9 of RHEL 4, `drivers/block/diskdump.c`. */
export function formatTotalBlocks({ total, header, bitmap, memory }: TotalBlocks): string {
  return `disk_dump: total blocks required: ${total} (header ${header} + bitmap ${bitmap} + memory ${memory})`;
}

/** Bytes that the device lacks for a dump of all memory; 0 where it suffices. */
export function shortfallBytes(deviceSize: number, machine: MachineSize, shape: DeviceShape): number {
  return Math.max(0, fullBytes(machine, shape) - Math.floor(deviceSize / GEOMETRY.granule) * GEOMETRY.granule);
}

function wholeDevice(logBytes: number, { logAreaBytes = GEOMETRY.logAreaDefault }: DeviceShape): number {
  return roundUp(GEOMETRY.logStart + logBytes, GEOMETRY.granule) + logAreaBytes + GEOMETRY.labelArea;
}

function startBytes(machine: MachineSize, shape: DeviceShape): number {
  const notes = (machine.cpus ?? 1) * CPU_NOTE_BYTES + VMCOREINFO_NOTE_BYTES;
  const lists = START.size + (machine.ranges ?? 64) * RANGE.size + PASSES * PASS.size + notes;
  return roundUp(RECORD.size + lists, recordAlignment(machine.pageSize, shape.blockSize));
}

/** Chunks and index records of so many raw pages. */
function dataBytes(pages: number, { pageSize }: MachineSize, { blockSize }: DeviceShape): number {
  const alignment = recordAlignment(pageSize, blockSize);
  const { chunkBytes, indexInterval } = LOG_PARAMETERS;
  const perChunk = Math.max(
    1,
    Math.floor((chunkBytes - roundUp(RECORD.size + 24 * (chunkBytes / pageSize), alignment)) / pageSize),
  );
  const chunks = Math.ceil(pages / perChunk);
  const heads = chunks * (roundUp(RECORD.size + 24 * perChunk, alignment) + alignment);
  const indexes = Math.ceil(pages / indexInterval) + PASSES;
  return pages * pageSize + heads + pages * INDEX_ENTRY.size + indexes * 2 * alignment;
}

function generationBytes(pages: number, machine: MachineSize, { blockSize }: DeviceShape): number {
  const alignment = recordAlignment(machine.pageSize, blockSize);
  const indexes = Math.ceil(pages / LOG_PARAMETERS.indexInterval) + PASSES;
  const head = RECORD.size + GENERATION.size + PASSES * PASS.size + indexes * INDEX_REF.size + RUN_RECORD_BYTES;
  const bitmaps = 2 * roundUp(bitmapLength(machine.maxMapnr, machine.pageSize), alignment);
  return roundUp(head, alignment) + bitmaps + roundUp(pages * DESCRIPTOR, alignment);
}
