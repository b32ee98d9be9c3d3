/** Writes a KDUMP version 6 file in classic order, metadata first, from pages that come once, in ascending order. */

import { roundUp } from '../../base/cursor.ts';
import { AssertionError, assert } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Range } from '../../base/ranges.ts';
import type { ByteSink } from '../../base/sink.ts';
import { CODEC_FLAG } from '../../codec/codec.ts';
import type { StoredPage, Utsname } from '../vmcore.ts';
import { BitmapCursor } from './bitmap-cursor.ts';
import {
  bitmapBytes,
  DUMP_LEVEL_ZERO,
  encodeKdumpHeader,
  encodeSubHeader,
  KDUMP_STATUS,
  KDUMP_SUB_HEADER,
  PAGE_DESC,
  putPageDesc,
} from './layout.ts';

/** What is known before the first page. */
export interface KdumpPlan {
  readonly utsname: Utsname;
  /** Whole seconds since 1970, 0 = unknown. */
  readonly timestampSeconds: number;
  /** Bytes: a power of two from 4096 to 65536. */
  readonly pageSize: number;
  readonly maxMapnr: number;
  /** Pages that exist (bitmap 1), ascending and disjoint; walked once. */
  readonly present: Iterable<Range>;
  /** Pages that will be appended, or more: room for their descriptors is kept. */
  readonly storedMax: number;
  /** makedumpfile's bits; bit 0 must be set, for zero pages share one. */
  readonly dumpLevel: number;
  readonly physBase: number;
  /** NT_PRSTATUS notes; 1 where there are none. */
  readonly cpuCount: number;
  /** The bytes of the PT_NOTE segment, copied as they are. */
  readonly notes: Uint8Array;
  /** The VMCOREINFO note's descriptor inside `notes`. */
  readonly vmcoreinfo?: { readonly offset: number; readonly length: number } | undefined;
  /** CODEC_FLAG of the codec that the dump was made with, 0 = none. */
  readonly codec: number;
}

/** What became of it. */
export interface KdumpSummary {
  /** Bytes of the file. */
  readonly size: number;
  /** Pages stored, zero pages included. */
  readonly stored: number;
  readonly zero: number;
}

/** Window of the descriptors: 48 KiB. */
const DESCRIPTORS_WINDOW = 2048;
/** Page data goes out in transfers of this size. */
const DATA_WINDOW = 2 ** 20;

/** Where the parts lie. */
interface Places {
  readonly bitmap1: number;
  readonly bitmap2: number;
  readonly bitmapBytes: number;
  readonly descriptors: number;
  readonly zeroPage: number;
  readonly data: number;
}

/** What a started writer works on. */
interface Job {
  readonly plan: KdumpPlan;
  readonly places: Places;
  readonly bitmap2: BitmapCursor;
}

/**
 * The writer: `start`, `appendPage` for each page, `finish`. Use one for one file.
 *
 * Pfns ascend, so bitmap 2, descriptors and data are each written forward by a cursor of their own, and memory stays at some
 * 1.2 MB whatever the machine. Room for descriptors of pages that never come is left as a gap. Block 0 is written by
 * `finish`: a file that was not finished is no dump.
 */
export class KdumpWriter {
  readonly #sink: ByteSink;
  #job: Job | undefined;
  readonly #descriptors = new Uint8Array(DESCRIPTORS_WINDOW * PAGE_DESC.size);
  readonly #descriptorView = new DataView(this.#descriptors.buffer);
  readonly #data = new Uint8Array(DATA_WINDOW);
  #dataUsed = 0;
  #dataFlushed = 0;
  #lastPfn = -1;
  #stored = 0;
  #zero = 0;

  /** @param sink must not be forward-only: bitmaps and descriptors stand before the data. */
  constructor(sink: ByteSink) {
    assert(!sink.forwardOnly, 'a KDUMP file in classic order needs a sink that can go back', { sink: sink.name });
    this.#sink = sink;
  }

  /** Writes sub header, notes, bitmap 1 and the shared zero page. */
  start(plan: KdumpPlan): void {
    assert(this.#job === undefined, 'a KdumpWriter writes one file', {});
    assert((plan.dumpLevel & DUMP_LEVEL_ZERO) !== 0, 'zero pages share one stored page', { dumpLevel: plan.dumpLevel });
    const places = placeParts(plan);
    this.#dataFlushed = places.data;
    this.#writeSubHeader(plan);
    this.#job = { plan, places, bitmap2: this.#writePresent(plan, places) };
    this.#sink.write(new Uint8Array(plan.pageSize), places.zeroPage);
  }

  /**
   * Takes one page; `pfn` is above the last one's.
   *
   * @param page as `Vmcore.readStored` gives it: length 0 = a page of zeros.
   * @param bytes the stored bytes, at least `page.length`; copied.
   */
  appendPage(pfn: number, page: StoredPage, bytes: Uint8Array): void {
    const { plan, places, bitmap2 } = this.#started();
    this.#checkPage(plan, pfn, page);
    const offset = page.length === 0 ? places.zeroPage : this.#dataFlushed + this.#dataUsed;
    if (page.length > 0) this.#putData(bytes, page.length);
    else this.#zero++;
    bitmap2.set(pfn, pfn + 1);
    const at = (this.#stored % DESCRIPTORS_WINDOW) * PAGE_DESC.size;
    const length = page.length || plan.pageSize;
    const proven = page.checksum !== undefined;
    putPageDesc(this.#descriptorView, at, offset, length, page.flags, page.checksum ?? 0, proven ? pfn % 2 ** 32 : 0);
    this.#stored++;
    if (this.#stored % DESCRIPTORS_WINDOW === 0) this.#flushDescriptors(DESCRIPTORS_WINDOW);
    this.#lastPfn = pfn;
  }

  /**
   * Writes what is left and block 0, and flushes the sink.
   *
   * @param options.incomplete sets the status bit that tells other tools that pages are missing; no filter's level is
   *   named then, since what is missing would pass for what it left out.
   */
  finish(options: { readonly incomplete: boolean }): KdumpSummary {
    const { plan, places, bitmap2 } = this.#started();
    this.#flushData();
    this.#flushDescriptors(this.#stored % DESCRIPTORS_WINDOW);
    bitmap2.end();
    if (options.incomplete && plan.dumpLevel !== DUMP_LEVEL_ZERO)
      this.#writeSubHeader({ ...plan, dumpLevel: DUMP_LEVEL_ZERO });
    this.#writeHeader(plan, places, options.incomplete);
    this.#sink.flush();
    return { size: this.#dataFlushed, stored: this.#stored, zero: this.#zero };
  }

  #started(): Job {
    if (this.#job === undefined) throw new AssertionError('KDUMP_WRITER', 'a KdumpWriter is started first');
    return this.#job;
  }

  /** No message is made for a page that is right. */
  #checkPage(plan: KdumpPlan, pfn: number, page: StoredPage): void {
    const fits = page.length <= plan.pageSize && (page.flags !== CODEC_FLAG.raw || page.length % plan.pageSize === 0);
    if (pfn > this.#lastPfn && pfn < plan.maxMapnr && this.#stored < plan.storedMax && fits) return;
    throw new AssertionError(
      'KDUMP_WRITER',
      `page ${hex(pfn)} of ${page.length} bytes after page ${hex(this.#lastPfn)}, ${this.#stored} of ${plan.storedMax}`,
      { pfn, length: page.length, flags: page.flags },
    );
  }

  #putData(bytes: Uint8Array, length: number): void {
    const first = Math.min(length, DATA_WINDOW - this.#dataUsed);
    this.#data.set(bytes.length === first ? bytes : bytes.subarray(0, first), this.#dataUsed);
    this.#dataUsed += first;
    if (this.#dataUsed < DATA_WINDOW) return;
    this.#flushData();
    this.#data.set(bytes.subarray(first, length));
    this.#dataUsed = length - first;
  }

  #flushData(): void {
    if (this.#dataUsed === 0) return;
    this.#sink.write(this.#data.subarray(0, this.#dataUsed), this.#dataFlushed);
    this.#dataFlushed += this.#dataUsed;
    this.#dataUsed = 0;
  }

  /** The last `count` descriptors, at their place. */
  #flushDescriptors(count: number): void {
    if (count === 0) return;
    const { places } = this.#started();
    const at = places.descriptors + (this.#stored - count) * PAGE_DESC.size;
    this.#sink.write(this.#descriptors.subarray(0, count * PAGE_DESC.size), at);
  }

  /** Writes bitmap 1 and hands its window on to bitmap 2. */
  #writePresent(plan: KdumpPlan, places: Places): BitmapCursor {
    const cursor = new BitmapCursor(this.#sink, places.bitmap1, places.bitmapBytes);
    let end = 0;
    for (const range of plan.present) {
      assert(range.start >= end && range.end <= plan.maxMapnr, 'ranges of present pages ascend', { ...range });
      end = range.end;
      cursor.set(range.start, range.end);
    }
    cursor.end();
    return cursor.moveTo(places.bitmap2);
  }

  #writeSubHeader(plan: KdumpPlan): void {
    const block = new Uint8Array(KDUMP_SUB_HEADER.size);
    const notesOffset = plan.pageSize + KDUMP_SUB_HEADER.size;
    encodeSubHeader(block, {
      physBase: plan.physBase,
      dumpLevel: plan.dumpLevel,
      notesOffset: plan.notes.length === 0 ? 0 : notesOffset,
      notesLength: plan.notes.length,
      vmcoreinfoOffset: plan.vmcoreinfo === undefined ? 0 : notesOffset + plan.vmcoreinfo.offset,
      vmcoreinfoLength: plan.vmcoreinfo?.length ?? 0,
      maxMapnr: plan.maxMapnr,
    });
    this.#sink.write(block, plan.pageSize);
    if (plan.notes.length > 0) this.#sink.write(plan.notes, notesOffset);
  }

  #writeHeader(plan: KdumpPlan, places: Places, incomplete: boolean): void {
    const block = new Uint8Array(plan.pageSize);
    encodeKdumpHeader(block, {
      utsname: plan.utsname,
      timestampSeconds: plan.timestampSeconds,
      status: plan.codec | (incomplete ? KDUMP_STATUS.incomplete : 0),
      blockSize: plan.pageSize,
      subHdrSize: places.bitmap1 / plan.pageSize - 1,
      bitmapBlocks: (2 * places.bitmapBytes) / plan.pageSize,
      maxMapnr: plan.maxMapnr,
      cpuCount: Math.max(1, plan.cpuCount),
    });
    this.#sink.write(block, 0);
  }
}

/** Bytes that a file of this plan takes at most, given the bytes that its pages take. */
export function planKdumpSize(
  plan: Pick<KdumpPlan, 'pageSize' | 'maxMapnr' | 'storedMax' | 'notes'>,
  dataBytes: number,
): number {
  return placeParts(plan).data + dataBytes;
}

function placeParts(plan: Pick<KdumpPlan, 'pageSize' | 'maxMapnr' | 'storedMax' | 'notes'>): Places {
  const { pageSize } = plan;
  const bytes = bitmapBytes(plan.maxMapnr, pageSize);
  const bitmap1 = pageSize + roundUp(KDUMP_SUB_HEADER.size + plan.notes.length, pageSize);
  const descriptors = bitmap1 + 2 * bytes;
  const zeroPage = roundUp(descriptors + plan.storedMax * PAGE_DESC.size, pageSize);
  return { bitmap1, bitmap2: bitmap1 + bytes, bitmapBytes: bytes, descriptors, zeroPage, data: zeroPage + pageSize };
}
