/** Going on with a log of this boot: where it ends, and what is on the device already. */

import type { Crc32 } from '../base/crc32.ts';
import type { DumpDevice } from '../base/device.ts';
import { DeviceError, DumpError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { findRange } from '../base/ranges.ts';
import { deviceSource } from '../format/kdump/device-source.ts';
import { type Label, sameBytes } from '../format/kdump/label.ts';
import { IndexEntries } from '../format/kdump/log-entries.ts';
import { RecordReader } from '../format/kdump/log-io.ts';
import { type LogState, scopeOfLabel } from '../format/kdump/log-reader.ts';
import type { RecordHeader } from '../format/kdump/log-records.ts';
import type { LogWriter } from '../format/kdump/log-writer.ts';
import { decodeRunRecord } from '../format/kdump/run-record.ts';
import type { HoleList } from './holes.ts';
import type { Machine } from './machine.ts';
import { type CapturePlan, countBelow } from './plan.ts';

/** Generations that are followed back to add up their bytes. */
const GENERATIONS_MAX = 256;

/** Where a capture goes on. */
export interface ResumePoint {
  readonly state: LogState;
  /** For each pass the pfn from which on pages are still to be stored. */
  readonly from: readonly number[];
  /** The generation marked last is there: only block 0 and the label are missing. */
  readonly last: boolean;
}

/**
 * Can a capture of `machine` go on with this log? A sentence why not, or `undefined`. The notes hold the registers of the
 * crash and the vmcoreinfo with its time: equal notes are the same crash.
 */
export function resumeProblem(state: LogState, machine: Machine, plan: CapturePlan): string | undefined {
  const start = state.start?.record;
  if (!start) return state.startProblem ?? 'no start record';
  if (!sameBytes(start.notes, machine.notes)) return 'its notes are of another crash';
  if (state.pageSize !== machine.pageSize || start.maxMapnr !== plan.maxMapnr) return 'its memory is another';
  const planned = start.passes.map((row) => row.planned);
  if (planned.length !== plan.passes.length || plan.passes.some((pass, i) => pass.pages !== planned[i]))
    return 'its passes are planned otherwise';
  return undefined;
}

/** Where to go on in a log without a {@link resumeProblem}. */
export function planResume(state: LogState, plan: CapturePlan): ResumePoint {
  const from = plan.passes.map((_, i) => {
    const last = state.passes[i]?.lastPfn;
    return last === undefined ? 0 : last + 1;
  });
  return { state, from, last: state.generation?.header.last === true };
}

/**
 * Tells a fresh writer of everything that is on the device, and the list of what could not be read so far.
 *
 * @throws DeviceError when an index record no longer reads as recovery has seen it.
 */
export function restoreLog(
  point: ResumePoint,
  writer: LogWriter,
  holes: HoleList,
  job: { readonly device: DumpDevice; readonly label: Label; readonly plan: CapturePlan; readonly crc: Crc32 },
): void {
  const { state } = point;
  const { device, label, crc } = job;
  const reader = new RecordReader({ ...scopeOfLabel(label), source: deviceSource(device), crc });
  const last = state.last as RecordHeader;
  const shown = state.generation?.record.descriptorCount;
  writer.resume({
    end: state.end,
    sequence: last.sequence,
    previousRecord: last.offset,
    previousGeneration: state.previousGeneration,
    previousIndex: state.previousIndex,
    generationBytes: sumGenerations(reader, state.previousGeneration),
    ...(shown !== undefined && { shown }),
  });
  writer.zeros = state.generation?.record.zeroCount ?? 0;
  for (let i = 0; i < state.indexes.length; i++) restoreIndex(point, writer, reader, i);
  writer.restorePages(state.loose.entries(), (entry) => state.loose.pass(entry));
  restoreHoles(point, writer, holes, job.plan);
}

function restoreIndex({ state }: ResumePoint, writer: LogWriter, reader: RecordReader, i: number): void {
  const { indexes } = state;
  const offset = indexes.offset(i);
  const probe = reader.probe(offset);
  const header = probe.found === 'record' ? probe.header : undefined;
  if (header?.kind !== 'index' || header.entryCount !== indexes.count(i))
    throw lostIndex(reader, offset, 'is no longer there');
  // The generation counted the zero pages of the indexes it covers.
  const zeros = i < state.indexesInGeneration ? 0 : countZeros(reader, header, 2 * state.pageSize);
  writer.restoreIndex({
    offset,
    firstPfn: indexes.firstPfn(i),
    lastPfn: indexes.lastPfn(i),
    count: header.entryCount,
    pass: header.pass,
    checksum: header.listChecksum,
    zeros,
  });
}

function countZeros(reader: RecordReader, header: RecordHeader, zeroPageOffset: number): number {
  const lists = reader.lists(header);
  if (typeof lists === 'string') throw lostIndex(reader, header.offset, lists);
  const entries = new IndexEntries(lists);
  let zeros = 0;
  for (let i = 0; i < entries.count; i++) if (entries.fileOffset(i) === zeroPageOffset) zeros++;
  return zeros;
}

function lostIndex(reader: RecordReader, offset: number, what: string): DeviceError {
  const { name } = reader.scope.source;
  return new DeviceError('DEVICE_READBACK', `resuming on ${name}: the index record at ${hex(offset)} ${what}`, {
    device: name,
    operation: 'read',
    offset,
  });
}

function sumGenerations(reader: RecordReader, newest: number): number {
  let bytes = 0;
  for (let offset = newest, left = GENERATIONS_MAX; offset !== 0 && left > 0; left--) {
    const probe = reader.probe(offset);
    if (probe.found !== 'record' || probe.header.kind !== 'generation') break;
    bytes += probe.header.length;
    offset = probe.header.previousGeneration;
  }
  return bytes;
}

/** Pages before the place where a pass goes on that are not stored are holes; those that the run record names are listed. */
function restoreHoles(point: ResumePoint, writer: LogWriter, holes: HoleList, plan: CapturePlan): void {
  writer.passes.forEach((row, i) => {
    const before = countBelow(plan.passes[i]?.ranges ?? [], point.from[i] ?? 0);
    row.holes = before - row.stored;
  });
  const total = writer.passes.reduce((sum, row) => sum + row.holes, 0);
  for (const hole of namedHoles(point.state)) {
    const pass = plan.passes.findIndex((row) => findRange(row.ranges, hole.start) >= 0);
    if (pass < 0 || hole.end > (point.from[pass] as number) || holes.pages + hole.end - hole.start > total) continue;
    holes.add(hole.start, hole.end - hole.start, hole.error);
  }
  holes.addUnlisted(total - holes.pages);
}

function namedHoles(state: LogState) {
  const bytes = state.generation?.record.runRecord;
  if (!bytes || bytes.length === 0) return [];
  try {
    return decodeRunRecord(bytes).holes;
  } catch (error) {
    if (error instanceof DumpError) return [];
    throw error;
  }
}
