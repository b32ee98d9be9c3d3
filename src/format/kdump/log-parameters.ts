/** What a log writer is told: device, dump, sizes and intervals; and what becomes of the intervals on a given machine. */

import type { Crc32 } from '../../base/crc32.ts';
import type { DumpDevice } from '../../base/device.ts';
import { LOG_LIMITS, LOG_PARAMETERS, type LogParameters } from './log-layout.ts';
import type { PassRow } from './log-records.ts';
import type { StartRecord } from './log-start.ts';
import type { BodySizes } from './log-writer-body.ts';

/** What a test may shrink, beyond {@link LogParameters}. */
export interface WriterParameters extends LogParameters {
  /** Bytes always kept for the run record of the closing generation; it takes more where there is more. */
  readonly runRecordReserve: number;
  /** Inside a pass a generation is written only while all of them stay below this share of what was written. */
  readonly generationShare: number;
  readonly body?: BodySizes;
}

/** Share of generations inside a pass, for raw and for compressed dumps. */
export const GENERATION_SHARE = { raw: 0.02, compressed: 0.04 } as const;

/** Defaults for a raw dump. */
export const WRITER_PARAMETERS: WriterParameters = {
  ...LOG_PARAMETERS,
  // What waits for an index record takes 32 bytes a page: 512 KiB.
  indexInterval: 2 ** 14,
  runRecordReserve: 2 ** 16,
  generationShare: GENERATION_SHARE.raw,
};

/** The parameters with an interval that keeps the index records of `planned` pages well within their bound. */
export function fitParameters(parameters: WriterParameters, planned: number): WriterParameters {
  const needed = Math.ceil(planned / (LOG_LIMITS.indexRefs / 2));
  const indexInterval = Math.min(Math.max(parameters.indexInterval, needed), LOG_LIMITS.indexEntries);
  return { ...parameters, indexInterval };
}

/** Index records beyond the full ones: each pass, and each resumption of a log, may close one early. */
const INDEX_SPARE = 64;

/** Most index records of a dump with fitted parameters. */
export function countIndexes({ indexInterval }: WriterParameters, planned: number, passes: number): number {
  return Math.min(Math.ceil(planned / indexInterval) + INDEX_SPARE * (1 + passes), LOG_LIMITS.indexRefs);
}

/** A {@link PassRow} that grows. */
export type PassCount = { -readonly [K in keyof PassRow]: PassRow[K] };

export interface LogWriterOptions {
  readonly device: DumpDevice;
  /** End of the log on the device, from its geometry. */
  readonly dataEnd: number;
  /** U, 16 bytes. */
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly pageSize: number;
  readonly start: Omit<StartRecord, 'notesOffset'>;
  /** Pages of the machine: bits of bitmap 1. */
  readonly present: number;
  /** Whole seconds since 1970, for block 0. */
  readonly timestampSeconds: number;
  /** Fitted to the plan: `fitParameters`. */
  readonly parameters: WriterParameters;
  readonly crc: Crc32;
  /** Called now and then inside long work, such as the merge of a generation. */
  readonly served: () => void;
}

/** What a generation is to the dump. */
export type GenerationKind = 'interim' | 'ended' | 'last';

/** Where a resumed log goes on; see `LogWriter.resume`. */
export interface LogPosition {
  /** Offset behind the last good record. */
  readonly end: number;
  /** Sequence of the last good record. */
  readonly sequence: number;
  readonly previousRecord: number;
  readonly previousGeneration: number;
  readonly previousIndex: number;
  /** Bytes of all generations so far. */
  readonly generationBytes: number;
  /** Pages that the newest generation shows; absent before the first. */
  readonly shown?: number;
}
