/** How many bytes records take before they are written, so that room for the closing ones is always kept. */

import { roundDown, roundUp } from '../../base/cursor.ts';
import { assert } from '../../base/errors.ts';
import { PAGE_DESC } from './layout.ts';
import { GENERATION, INDEX_ENTRY, INDEX_REF, PASS, RECORD, RUN_RECORD_MAX } from './log-layout.ts';

/** What gives a generation its size. */
export interface GenerationSize {
  /** Pages in it. */
  readonly stored: number;
  /** Index records that it refers to. */
  readonly indexes: number;
}

/** The arithmetic of one log. All results in bytes. */
export class LogRoom {
  readonly #alignment: number;
  readonly #bitmapBytes: number;
  readonly #passCount: number;
  readonly #runRecordReserve: number;

  /**
   * @param shape.alignment A. @param shape.bitmapBytes of each bitmap. @param shape.runRecordReserve kept for the run record of
   * the closing generation.
   */
  constructor(shape: {
    readonly alignment: number;
    readonly bitmapBytes: number;
    readonly passCount: number;
    readonly runRecordReserve: number;
  }) {
    this.#alignment = shape.alignment;
    this.#bitmapBytes = shape.bitmapBytes;
    this.#passCount = shape.passCount;
    this.#runRecordReserve = shape.runRecordReserve;
  }

  /** An index record of so many entries, with padding. */
  index(entries: number): number {
    return roundUp(RECORD.size + entries * INDEX_ENTRY.size, this.#alignment);
  }

  /** Head and lists of a generation, up to bitmap 1. */
  head({ indexes }: GenerationSize, runRecordBytes: number): number {
    return roundUp(this.#fixed(indexes) + runRecordBytes, this.#alignment);
  }

  /** A whole generation. */
  generation(size: GenerationSize, runRecordBytes: number): number {
    return this.head(size, runRecordBytes) + this.#body(size);
  }

  /** The index record of `pending` pages and the closing generation with them: what must always be left. */
  closing(pending: number, size: GenerationSize): number {
    return this.index(pending) + this.generation({ ...size, indexes: size.indexes + 1 }, this.#runRecordReserve);
  }

  /** Largest run record of a generation that begins at `end` of a log that goes to `dataEnd`. */
  runRecord(size: GenerationSize, end: number, dataEnd: number, isClosing: boolean): number {
    const head = roundDown(dataEnd - end - this.#body(size), this.#alignment);
    const room = head - this.#fixed(size.indexes);
    assert(room >= 0, `a generation of ${size.stored} pages finds no room`, { end, dataEnd, room });
    // What is not the last word leaves the room for it.
    return Math.min(room, isClosing ? RUN_RECORD_MAX : this.#runRecordReserve);
  }

  #body({ stored }: GenerationSize): number {
    return roundUp(2 * this.#bitmapBytes + PAGE_DESC.size * stored, this.#alignment);
  }

  /** Head and lists without the run record. */
  #fixed(indexes: number): number {
    return RECORD.size + GENERATION.size + this.#passCount * PASS.size + indexes * INDEX_REF.size;
  }
}
