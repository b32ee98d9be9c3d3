/**
 * Recovery: what a device's log holds, whatever happened to its writer.
 *
 * The newest generation is where block 0 says, or else it is found by walking. Behind it, records count up to the first
 * gap. A gap with a whole generation behind it is damage: everything before a generation was flushed before it was written.
 */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import type { DumpDevice } from '../../base/device.ts';
import { hex } from '../../base/hex.ts';
import type { ByteSource } from '../../base/source.ts';
import type { CodecTable } from '../../codec/codec.ts';
import { deviceSource } from './device-source.ts';
import { type Label, labelGeometry } from './label.ts';
import type { IndexRefs } from './log-generation.ts';
import {
  type FoundGeneration,
  type FoundStart,
  findHintedGeneration,
  type LogScope,
  proveGeneration,
  RecordReader,
  readStart,
} from './log-io.ts';
import { GEOMETRY } from './log-layout.ts';
import type { LooseEntries } from './log-loose.ts';
import type { RecordHeader } from './log-records.ts';
import { LogWalk } from './log-walk.ts';

/** How much of what lies behind the newest generation is proved by reading the pages themselves. */
export type ProofDepth =
  /** Heads and lists only: pages are proved when they are read. For looking at a dump. */
  | 'lists'
  /** Also every page of the chunks that no index covers yet. For going on after a process was killed. */
  | 'loose'
  /** Every page of every chunk behind the newest generation. For going on after the device may have lost writes. */
  | 'pages';

export interface RecoverOptions {
  readonly crc?: Crc32;
  /** Needed to prove compressed pages; default none. */
  readonly codecs?: CodecTable;
  /** Default `lists`. */
  readonly prove?: ProofDepth;
  /** Prove bitmaps and descriptors of the newest generation too when block 0 named it. Reads all of them. */
  readonly verify?: boolean;
  /**
   * Records that are walked before the rest is reached by its index records alone, without looking at the chunks between;
   * default all are walked. For looking at a dump: a page that is not there then shows only when it is read.
   */
  readonly jumpAfter?: number;
  /** Called now and then in long walks. */
  readonly served?: () => void;
}

/** A stretch of the log that no good record covers, with good ones behind it. Which pages it held is not known. */
export interface LogDamage {
  readonly start: number;
  readonly end: number;
  readonly what: string;
}

/** What one pass has on the device. */
export interface PassProgress {
  /** Pages stored in good records. */
  readonly stored: number;
  /** Index records. */
  readonly indexes: number;
  /** Highest pfn stored; a resumed pass goes on behind it. */
  readonly lastPfn: number | undefined;
}

/** What {@link recoverLog} found. */
export interface LogState {
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly start: FoundStart | undefined;
  /** Why there is no start record. */
  readonly startProblem: string | undefined;
  /** The device gave an error there: what it holds is not known, and not to be overwritten. */
  readonly startUnreadable: boolean;
  /** The newest whole one. */
  readonly generation: FoundGeneration | undefined;
  /** Did block 0 name it? If not, block 0 has to be written again. */
  readonly generationFoundBy: 'block0' | 'walk' | undefined;
  /** All index records that count, in the order of the log: the generation's, then those behind it. */
  readonly indexes: IndexRefs;
  /** How many of `indexes` the generation covers. */
  readonly indexesInGeneration: number;
  /** Pages behind the generation that no index covers yet. */
  readonly loose: LooseEntries;
  /** By index into the pass table; as many as the start record or the generation names. */
  readonly passes: readonly PassProgress[];
  /** Chunks behind the newest generation that were looked at, and all pages behind it. */
  readonly chunksBehind: number;
  readonly pagesBehind: number;
  /** The last good record; absent where there is none. */
  readonly last: RecordHeader | undefined;
  /** Where the next record goes: behind the last good one. */
  readonly end: number;
  /** Offsets of the last good records of these kinds, 0 = none, for the headers of what follows. */
  readonly previousGeneration: number;
  readonly previousIndex: number;
  /** Chunks behind the generation were not looked at: the index records that cover them were. */
  readonly jumped: boolean;
  /** Why the records end there; absent at a generation marked last. */
  readonly endReason: string | undefined;
  readonly damage: readonly LogDamage[];
  readonly pageSize: number;
  readonly alignment: number;
}

/**
 * Recovers the log of the dump that the label names.
 *
 * Reads block 0, the start record, one generation's lists, and the heads and lists of the records behind it: a bounded
 * number of windows, at most some 12 MiB of tables, whatever the size of the device. Without block 0's help it walks the
 * log from its start, one head for each record, and proves each generation on the way by its checksums.
 *
 * @param dump U, part and geometry; a {@link Label} of state in use, ended, complete or saved gives them.
 * @throws DeviceError `ETIMEDOUT` when the device is dead.
 */
export function recoverLog(
  source: ByteSource | DumpDevice,
  dump: Label | Omit<LogScope, 'source' | 'crc'>,
  options: RecoverOptions = {},
): LogState {
  const scope: LogScope = {
    ...('identity' in dump ? scopeOfLabel(dump) : dump),
    source: 'readInto' in source ? source : deviceSource(source),
    crc: options.crc ?? crc32,
  };
  const reader = new RecordReader(scope);
  const start = readStart(reader);
  const found = 'record' in start ? start : undefined;
  const hinted = findHintedGeneration(reader);
  const damage: LogDamage[] = [];
  const broken = hinted && options.verify === true ? proveGeneration(reader, hinted) : undefined;
  if (hinted && broken !== undefined)
    damage.push({ start: hinted.header.offset, end: hinted.header.offset + hinted.header.length, what: broken });
  const base = broken === undefined ? hinted : undefined;
  let walk = walkFrom(reader, found, base, options, damage);
  const bad = options.prove === 'loose' ? walk.proveLoose() : undefined;
  if (bad) walk = walkFrom(reader, found, base, options, damage, bad);
  return {
    dumpUuid: scope.dumpUuid,
    part: scope.part,
    start: found,
    startProblem: 'problem' in start ? start.problem : undefined,
    startUnreadable: 'problem' in start && start.unreadable,
    ...walk.result(),
  };
}

function walkFrom(
  reader: RecordReader,
  start: FoundStart | undefined,
  base: FoundGeneration | undefined,
  options: RecoverOptions,
  damage: readonly LogDamage[],
  stop?: { readonly offset: number; readonly problem: string },
): LogWalk {
  const walk = new LogWalk(reader, start, options, damage);
  if (stop) walk.stopAt(stop.offset, stop.problem);
  if (base) walk.beginAt(base, 'block0');
  else if (start) walk.beginAtStart(start);
  if (!walk.generation?.header.last) walk.run();
  return walk;
}

/** True when there is something to save: a generation, a good start and one good chunk, or a start that can't be read now. */
export function holdsDump(state: LogState): boolean {
  if (state.generation !== undefined || state.startUnreadable) return true;
  return state.start !== undefined && state.pagesBehind > 0;
}

/** Offsets of the generations of this log, newest first, followed by their back references; at most `GENERATIONS_MAX`. */
export function listGenerations(
  source: ByteSource | DumpDevice,
  state: LogState,
  scope: Omit<LogScope, 'source'>,
): number[] {
  const reader = new RecordReader({ ...scope, source: 'readInto' in source ? source : deviceSource(source) });
  const offsets: number[] = [];
  for (let offset = state.previousGeneration; offset !== 0 && offsets.length < GENERATIONS_MAX; ) {
    const probe = reader.probe(offset);
    if (probe.found !== 'record' || probe.header.kind !== 'generation') break;
    offsets.push(offset);
    offset = probe.header.previousGeneration;
  }
  return offsets;
}

/** Generations of one log that are followed; writers make some dozens. */
const GENERATIONS_MAX = 4096;

/** Scope of the dump that a label names, without source and checksum. */
export function scopeOfLabel(label: Label): Omit<LogScope, 'source' | 'crc'> {
  return {
    dumpUuid: label.state.dumpUuid,
    part: label.state.part,
    dataEnd: labelGeometry(label.identity).dataEnd,
  };
}

/** A sentence on where the records of a log end, for run record and messages. */
export function describeEnd(state: LogState): string {
  const last = state.last;
  if (!last) return `no good record behind offset ${hex(GEOMETRY.logStart)}`;
  const at = `record ${last.sequence} (${last.kind}) at ${hex(last.offset)}`;
  return state.endReason === undefined ? `the log ends with ${at}` : `the log ends with ${at}: ${state.endReason}`;
}
