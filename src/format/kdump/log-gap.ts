/** What comes behind unreadable headers: the next generation that is whole, whatever lies between. */

import { roundDown } from '../../base/cursor.ts';
import { type FoundGeneration, proveGeneration, type RecordReader, readAround, readGeneration } from './log-io.ts';
import { GENERATION_LISTS_MAX, GEOMETRY, LOG_LIMITS, RECORD } from './log-layout.ts';
import { decodeRecordHeader, type RecordHeader } from './log-records.ts';

/** Behind an unreadable header of a chunk or an index, the next record begins within this. */
const SCAN_NEAR_BYTES = 16 * 2 ** 20;
/** Slack of the place behind an unreadable generation: entries that may have come since its pages were counted. */
const SCAN_SLACK_BYTES = 24 * LOG_LIMITS.chunkEntries * 64;

/** A place where no good record lies, and what is known of those before it. */
export interface LogGap {
  readonly offset: number;
  /** Of the last good record; 0 if none. */
  readonly sequence: number;
  /** Bytes of the body of a generation, were its head what can't be read: it holds every page stored so far. */
  readonly bodyBytes: number;
  readonly alignment: number;
}

/**
 * Walks on over unreadable headers, and gives the first generation behind the gap that is whole. Where a record of another
 * dump lies, this one has ended.
 *
 * @param served called now and then.
 */
export function findGenerationBehind(
  reader: RecordReader,
  gap: LogGap,
  served: () => void,
): FoundGeneration | undefined {
  let { offset, sequence } = gap;
  for (;;) {
    served();
    const header = findHeader(reader, { ...gap, offset, sequence }, served);
    if (!header) return undefined;
    sequence = header.sequence;
    offset = header.offset + header.length;
    if (header.kind !== 'generation') continue;
    const generation = readGeneration(reader, header);
    if (typeof generation === 'string') continue;
    if (proveGeneration(reader, generation) === undefined) return generation;
  }
}

/** The record at the gap, or at the next boundary with U, its own offset and a higher sequence, where one can be. */
function findHeader(reader: RecordReader, gap: LogGap, served: () => void): RecordHeader | undefined {
  const { offset, sequence, bodyBytes, alignment } = gap;
  const probe = reader.probe(offset);
  if (probe.found === 'foreign') return undefined;
  if (probe.found === 'record' && probe.header.sequence > sequence) return probe.header;
  const scan = (start: number, end: number): RecordHeader | 'foreign' | undefined =>
    scanHeaders(reader, { start, end, sequence }, served);
  const near = scan(offset, offset + SCAN_NEAR_BYTES);
  if (near !== undefined) return near === 'foreign' ? undefined : near;
  const behind = roundDown(offset + bodyBytes, alignment);
  const far = scan(
    Math.max(behind, offset + SCAN_NEAR_BYTES),
    offset + bodyBytes + GENERATION_LISTS_MAX + SCAN_SLACK_BYTES,
  );
  return far === 'foreign' ? undefined : far;
}

function scanHeaders(
  reader: RecordReader,
  { start, end, sequence }: { readonly start: number; readonly end: number; readonly sequence: number },
  served: () => void,
): RecordHeader | 'foreign' | undefined {
  const { window } = reader;
  const { source, crc, dataEnd } = reader.scope;
  const step = GEOMETRY.recordAlignMin;
  for (let at = start; at < Math.min(end, dataEnd); at += window.length) {
    const part = window.subarray(0, Math.min(window.length, dataEnd - at));
    readAround(source, part, at);
    for (let i = 0; i + RECORD.size <= part.length; i += step) {
      const header = decodeRecordHeader(part.subarray(i, i + RECORD.size), at + i, crc);
      if (!header) continue;
      if (!reader.isOurs(header)) return 'foreign';
      if (header.sequence > sequence && header.offset + header.length <= dataEnd) return header;
    }
    served();
  }
  return undefined;
}
