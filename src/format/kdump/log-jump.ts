/**
 * Jumping ahead in a long log: the far end is found by halving, and the index records between by their back references,
 * so that nobody who only looks at a dump walks a million chunk heads.
 */

import { roundUp } from '../../base/cursor.ts';
import { type RecordReader, readAround } from './log-io.ts';
import { GEOMETRY, INDEX_ENTRY, LOG_LIMITS, RECORD } from './log-layout.ts';
import { decodeRecordHeader, type RecordHeader } from './log-records.ts';

/** Behind any place among chunks and indexes, a record begins within this: the largest index and the largest chunk. */
const REACH =
  roundUp(RECORD.size + LOG_LIMITS.indexEntries * INDEX_ENTRY.size, LOG_LIMITS.alignment) + LOG_LIMITS.chunkBytes;
/** The first step, and where halving ends. */
const STEP = 2 ** 26;

/** A record far behind `from` in the same log, near its end; `undefined` where none is found past the first step. */
export function findFarRecord(reader: RecordReader, from: RecordHeader): RecordHeader | undefined {
  const { dataEnd } = reader.scope;
  let far: RecordHeader | undefined;
  let low = from.offset + from.length;
  let high = dataEnd;
  for (let step = STEP; low + step < dataEnd; step *= 2) {
    const found = recordBehind(reader, low + step, from);
    if (!found) {
      high = low + step;
      break;
    }
    far = found;
    low = found.offset;
  }
  while (high - low > STEP) {
    const middle = roundUp(Math.floor((low + high) / 2), LOG_LIMITS.alignment);
    const found = recordBehind(reader, middle, from);
    if (found) {
      far = found;
      low = Math.max(found.offset, middle);
    } else high = middle;
  }
  return far;
}

/** The first record of this log at or behind `offset`, later than `from`. */
function recordBehind(reader: RecordReader, offset: number, from: RecordHeader): RecordHeader | undefined {
  const { window } = reader;
  const { source, crc, dataEnd } = reader.scope;
  const start = roundUp(offset, GEOMETRY.recordAlignMin);
  for (let at = start; at < Math.min(start + REACH, dataEnd); at += window.length) {
    const part = window.subarray(0, Math.min(window.length, dataEnd - at));
    readAround(source, part, at);
    for (let i = 0; i + RECORD.size <= part.length; i += GEOMETRY.recordAlignMin) {
      const header = decodeRecordHeader(part.subarray(i, i + RECORD.size), at + i, crc);
      if (header && reader.isOurs(header) && header.sequence > from.sequence) return header;
    }
  }
  return undefined;
}

/**
 * The index records between `from` and `far`, oldest first, by the chain of back references.
 *
 * @returns `undefined` where a link of the chain is broken.
 */
export function collectIndexes(
  reader: RecordReader,
  from: RecordHeader,
  far: RecordHeader,
): RecordHeader[] | undefined {
  const found: RecordHeader[] = [];
  let sequence = far.sequence;
  for (let offset = far.previousIndex; offset > from.offset; ) {
    const probe = reader.probe(offset);
    const header = probe.found === 'record' ? probe.header : undefined;
    if (header?.kind !== 'index' || header.sequence >= sequence || found.length >= LOG_LIMITS.indexRefs)
      return undefined;
    found.push(header);
    sequence = header.sequence;
    offset = header.previousIndex;
  }
  return found.reverse();
}
