/** The run record: what stage 1 did, as JSON inside every generation, for people and for `save`. */

import { FormatError } from '../../base/errors.ts';
import { RUN_RECORD_MAX } from './log-layout.ts';

/** Planned pages that could not be read, pfns half-open. */
export interface RunHole {
  readonly start: number;
  readonly end: number;
  /** Message of the error. */
  readonly error: string;
}

/** A device that was passed over, and why. */
export interface RunRefusal {
  readonly device: string;
  readonly code: string;
  readonly message: string;
}

export interface RunEvent {
  /** Milliseconds since stage 1 began. */
  readonly ms: number;
  readonly event: string;
}

/** What stage 1 did so far. */
export interface RunRecord {
  readonly schema: 'diskdump.run/1';
  /** Why the dump ended early, one sentence; absent while it goes on or when it is whole. */
  readonly reason?: string;
  readonly passes: readonly { readonly name: string; readonly planned: number; readonly stored: number }[];
  readonly holes: readonly RunHole[];
  /** Pages in all holes, the listed and the rest. */
  readonly holePages: number;
  /** Entries for which there was no room. */
  readonly omitted: { readonly holes: number; readonly refused: number; readonly timeline: number };
  readonly refused: readonly RunRefusal[];
  readonly timeline: readonly RunEvent[];
}

/** Longest text of one entry, in characters. */
const TEXT_MAX = 512;

/**
 * The record as UTF-8 JSON of at most `maxBytes`. What does not fit is counted in `omitted`: holes from the end first,
 * then refusals, then the middle of the timeline, so that beginning and end stay. Memory stays within a few times `maxBytes`.
 */
export function encodeRunRecord(run: RunRecord, maxBytes: number = RUN_RECORD_MAX): Uint8Array {
  let holes = countFitting(run.holes, maxBytes, (hole) => hole.error);
  let refused = countFitting(run.refused, maxBytes, (entry) => entry.device + entry.message);
  let events = countFitting(run.timeline, maxBytes, (event) => event.event);
  for (;;) {
    const bytes = new TextEncoder().encode(JSON.stringify(cutRun(run, holes, refused, events)));
    if (bytes.length <= maxBytes) return bytes;
    if (holes > 0) holes >>>= 1;
    else if (refused > 0) refused >>>= 1;
    else if (events > 0) events >>>= 1;
    else return new Uint8Array(0);
  }
}

/** Bytes of an entry besides its text. */
const ENTRY_BYTES = 32;

/** How many entries cannot be known to be too many without writing them out. */
function countFitting<T>(entries: readonly T[], maxBytes: number, textOf: (entry: T) => string): number {
  let bytes = 0;
  let fitting = 0;
  for (const entry of entries) {
    bytes += ENTRY_BYTES + Math.min(TEXT_MAX, textOf(entry).length);
    if (bytes > maxBytes) break;
    fitting++;
  }
  return fitting;
}

function cutRun(run: RunRecord, holes: number, refused: number, events: number): RunRecord {
  const head = Math.ceil(events / 2);
  const timeline = run.timeline.filter((_, i) => i < head || i >= run.timeline.length - (events - head));
  return {
    ...run,
    ...(run.reason !== undefined && { reason: run.reason.slice(0, TEXT_MAX) }),
    holes: run.holes.slice(0, holes).map((hole) => ({ ...hole, error: hole.error.slice(0, TEXT_MAX) })),
    omitted: {
      holes: run.omitted.holes + run.holes.length - holes,
      refused: run.omitted.refused + run.refused.length - refused,
      timeline: run.omitted.timeline + run.timeline.length - timeline.length,
    },
    refused: run.refused.slice(0, refused).map((entry) => ({ ...entry, message: entry.message.slice(0, TEXT_MAX) })),
    timeline: timeline.map((event) => ({ ms: event.ms, event: event.event.slice(0, TEXT_MAX) })),
  };
}

/**
 * The record in the bytes of a generation.
 *
 * @throws FormatError `RUN_RECORD` when they are not JSON of this schema; unknown fields are dropped.
 */
export function decodeRunRecord(bytes: Uint8Array): RunRecord {
  const value = parseJson(bytes);
  if (text(value.schema) !== 'diskdump.run/1') throw runError('its schema is not diskdump.run/1');
  const omitted = object(value.omitted);
  return {
    schema: 'diskdump.run/1',
    ...(value.reason !== undefined && { reason: text(value.reason) }),
    passes: list(value.passes).map((row) => ({
      name: text(row.name),
      planned: count(row.planned),
      stored: count(row.stored),
    })),
    holes: list(value.holes).map((hole) => ({
      start: count(hole.start),
      end: count(hole.end),
      error: text(hole.error),
    })),
    holePages: count(value.holePages),
    omitted: {
      holes: count(omitted.holes),
      refused: count(omitted.refused),
      timeline: count(omitted.timeline),
    },
    refused: list(value.refused).map((entry) => ({
      device: text(entry.device),
      code: text(entry.code),
      message: text(entry.message),
    })),
    timeline: list(value.timeline).map((event) => ({ ms: milliseconds(event.ms), event: text(event.event) })),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function parseJson(bytes: Uint8Array): Fields {
  if (bytes.length > RUN_RECORD_MAX) throw runError(`it has ${bytes.length} bytes`);
  try {
    return object(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch (error) {
    if (error instanceof FormatError) throw error;
    throw runError('it is not JSON');
  }
}

function object(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
  throw runError('an object is missing');
}

function list(value: unknown): readonly Fields[] {
  if (Array.isArray(value)) return value.map(object);
  throw runError('a list is missing');
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw runError('a text is missing');
}

function count(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw runError('a count is missing');
}

function milliseconds(value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw runError('a time is missing');
}

function runError(what: string): FormatError {
  return new FormatError('RUN_RECORD', `run record: ${what}`);
}
