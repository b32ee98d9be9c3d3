/** Proves every generation on the comparing device, bit by bit and descriptor by descriptor, against the plan. */

import { readDevice } from '../../src/base/device.ts';
import { findRange, subtractRanges } from '../../src/base/ranges.ts';
import { deviceSource } from '../../src/format/kdump/device-source.ts';
import { readLabel } from '../../src/format/kdump/label.ts';
import { PAGE_DESC } from '../../src/format/kdump/layout.ts';
import { type FoundGeneration, RecordReader, readGeneration } from '../../src/format/kdump/log-io.ts';
import { PAGE_PROOF } from '../../src/format/kdump/log-layout.ts';
import { listGenerations, recoverLog, scopeOfLabel } from '../../src/format/kdump/log-reader.ts';
import { nodeCrc32 } from '../../src/host/codecs.ts';
import { BIG_ESSENTIAL, BIG_RANGES, fillPage, isZeroPfn, MAX_MAPNR, PAGE } from './big-machine.ts';
import { ComparingDevice } from './comparing-device.ts';
import type { Step } from './run.ts';

const WINDOW = 2 ** 18;
/** Whole windows of descriptors. */
const DESC_WINDOW = 3 * 2 ** 16;

export const step: Step = (directory, size) => {
  const device = new ComparingDevice(directory, size);
  const label = readLabel(device, nodeCrc32).label;
  if (!label) throw new Error('no label');
  const scope = { ...scopeOfLabel(label), crc: nodeCrc32 };
  const reader = new RecordReader({ ...scope, source: deviceSource(device) });
  const offsets = listGenerations(device, recoverLog(device, label, { crc: nodeCrc32 }), scope);
  const pages = offsets.map((offset) => {
    const probe = reader.probe(offset);
    if (probe.found !== 'record') throw new Error(`no record at ${offset}`);
    const generation = readGeneration(reader, probe.header);
    if (typeof generation === 'string') throw new Error(generation);
    return proveGeneration(device, generation);
  });
  return { pages };
};

/** @returns pages that the generation shows; throws at the first bit, descriptor or checksum that is not as planned. */
function proveGeneration(device: ComparingDevice, { record }: FoundGeneration): number {
  const [essential, rest] = record.passes;
  if (!essential || !rest) throw new Error('two passes are planned');
  const isStored = storedTest(rest.stored);
  const present = new BitReader(device, record.bitmap1Offset, record.bitmapBytes);
  const stored = new BitReader(device, record.bitmap1Offset + record.bitmapBytes, record.bitmapBytes);
  const descriptors = new DescriptorReader(device, record.descriptorsOffset, record.descriptorCount);
  let next = 0;
  let pages = 0;
  for (const { start, end } of BIG_RANGES) {
    present.expectZeros(next, start);
    stored.expectZeros(next, start);
    for (let pfn = start; pfn < end; pfn++) {
      if (!present.bit(pfn)) throw new Error(`pfn ${pfn} exists and is not in bitmap 1`);
      if (stored.bit(pfn) !== isStored(pfn)) throw new Error(`bitmap 2 is wrong at pfn ${pfn}`);
      if (!isStored(pfn)) continue;
      descriptors.expect(pfn);
      pages++;
    }
    next = end;
  }
  present.expectZeros(next, MAX_MAPNR);
  stored.expectZeros(next, MAX_MAPNR);
  const found = [present.checksum, stored.checksum, descriptors.checksum];
  const claimed = [record.bitmap1Checksum, record.bitmap2Checksum, record.descriptorsChecksum];
  if (String(found) !== String(claimed)) throw new Error(`checksums ${found}, the head says ${claimed}`);
  if (pages !== record.descriptorCount) throw new Error(`${pages} pages, the head says ${record.descriptorCount}`);
  return pages;
}

/** Which pages are stored when the second pass has come to its page number `count`. */
function storedTest(count: number): (pfn: number) => boolean {
  let left = count;
  let end = 0;
  for (const range of subtractRanges(BIG_RANGES, BIG_ESSENTIAL)) {
    const taken = Math.min(left, range.end - range.start);
    if (taken > 0) end = range.start + taken;
    left -= taken;
  }
  return (pfn) => pfn < end || findRange(BIG_ESSENTIAL, pfn) >= 0;
}

/** Reads a region forward in windows, with its checksum. */
class WindowReader {
  checksum = 0;
  readonly window: Uint8Array;
  protected base = 0;
  protected length = 0;
  readonly #device: ComparingDevice;
  readonly #offset: number;
  readonly #size: number;

  constructor(device: ComparingDevice, offset: number, size: number, window: number) {
    this.#device = device;
    this.#offset = offset;
    this.#size = size;
    this.window = new Uint8Array(window);
  }

  /** Moves on to the window that holds byte `at` of the region. */
  protected moveTo(at: number): void {
    while (at >= this.base + this.length) {
      this.base += this.length;
      this.length = Math.min(this.window.length, this.#size - this.base);
      const whole = Math.ceil(this.length / PAGE) * PAGE;
      readDevice(this.#device, this.window.subarray(0, whole), this.#offset + this.base);
      this.checksum = nodeCrc32(this.window.subarray(0, this.length), this.checksum);
    }
  }
}

class BitReader extends WindowReader {
  constructor(device: ComparingDevice, offset: number, size: number) {
    super(device, offset, size, WINDOW);
  }

  bit(pfn: number): boolean {
    const byte = Math.floor(pfn / 8);
    this.moveTo(byte);
    return (((this.window[byte - this.base] as number) >> (pfn & 7)) & 1) === 1;
  }

  /** Ranges begin and end on whole bytes. */
  expectZeros(start: number, end: number): void {
    for (let byte = start / 8; byte < end / 8; byte++) {
      this.moveTo(byte);
      if (this.window[byte - this.base] !== 0) throw new Error(`a bit near pfn ${byte * 8} is set`);
    }
  }
}

class DescriptorReader extends WindowReader {
  #next = 0;
  readonly #view: DataView;
  readonly #device: ComparingDevice;
  readonly #truth = new Uint32Array(PAGE / 4);
  readonly #truthBytes = new Uint8Array(this.#truth.buffer);
  readonly #zeroChecksum = nodeCrc32(new Uint8Array(PAGE));

  constructor(device: ComparingDevice, offset: number, count: number) {
    super(device, offset, count * PAGE_DESC.size, DESC_WINDOW);
    this.#view = new DataView(this.window.buffer);
    this.#device = device;
  }

  /** The next descriptor must be of `pfn`: its place, its proof. The places of one page in 16 are looked up. */
  expect(pfn: number): void {
    this.moveTo(this.#next);
    const at = this.#next - this.base;
    this.#next += PAGE_DESC.size;
    const view = this.#view;
    const offset = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
    const zero = isZeroPfn(pfn);
    if (view.getUint32(at + PAGE_DESC.length, true) !== PAGE || view.getUint32(at + PAGE_DESC.flags, true) !== 0)
      throw new Error(`the descriptor of pfn ${pfn} is not of a raw page`);
    if (view.getUint32(at + PAGE_DESC.pageFlags + PAGE_PROOF.pfn, true) !== pfn)
      throw new Error(`the descriptor at the rank of pfn ${pfn} is of another page`);
    if (zero !== (offset === 2 * PAGE)) throw new Error(`pfn ${pfn} lies at ${offset}`);
    if (pfn % 16 === 0 && !zero && this.#device.pageAt(offset) !== pfn)
      throw new Error(`pfn ${pfn} is not at ${offset}`);
    if (!zero) fillPage(this.#truth, 0, pfn);
    const checksum = zero ? this.#zeroChecksum : nodeCrc32(this.#truthBytes);
    if (view.getUint32(at + PAGE_DESC.pageFlags + PAGE_PROOF.checksum, true) !== checksum)
      throw new Error(`the descriptor of pfn ${pfn} has another checksum`);
  }
}
