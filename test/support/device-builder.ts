/**
 * Small images of dump devices, made from the byte tables of `docs/formats/dump-device.md` and nothing of our writers:
 * every offset below is a number from that page, so that a slip in the code's own tables is seen.
 */

import { crc32, deflateSync } from 'node:zlib';
import type { DumpDevice } from '../../src/base/device.ts';
import { DeviceError } from '../../src/base/errors.ts';

export const BUILT = {
  uuid: Uint8Array.from({ length: 16 }, (_, i) => 0x10 + i),
  dumpUuid: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  bootId: Uint8Array.from({ length: 16 }, (_, i) => 0xb0 + i),
} as const;

const STATES = { ready: 1, inUse: 2, ended: 3, complete: 4, saved: 5 } as const;

export interface BuilderOptions {
  /** Default 4 MiB. */
  readonly size?: number;
  /** Default 64 KiB. */
  readonly logAreaBytes?: number;
  readonly pageSize?: number;
  /** Default [[0, 64]]. */
  readonly ranges?: readonly (readonly [number, number])[];
  readonly passes?: readonly { readonly name: string; readonly planned: number }[];
  readonly notes?: Uint8Array;
  /** VMCOREINFO's descriptor in the notes. */
  readonly vmcoreinfo?: readonly [offset: number, length: number];
  readonly dumpUuid?: Uint8Array;
  readonly part?: number;
}

/** How a page is stored in a chunk. */
export type BuiltPage = { readonly pfn: number } & (
  | { readonly zero: true }
  | { readonly bytes: Uint8Array; readonly zlib?: boolean }
);

interface Descriptor {
  readonly pfn: number;
  readonly offset: number;
  readonly length: number;
  readonly flags: number;
  readonly checksum: number;
}

interface IndexReference {
  readonly offset: number;
  readonly first: number;
  readonly last: number;
  readonly count: number;
  readonly pass: number;
}

/** Appends records to an image as a writer would. Each method gives the offset of what it wrote. */
export class DeviceBuilder {
  readonly image: Uint8Array;
  readonly pageSize: number;
  readonly passes: readonly { readonly name: string; readonly planned: number }[];
  readonly capacity: number;
  /** What every stored page holds. */
  readonly pages = new Map<number, Uint8Array>();
  /** Where the next record goes. */
  end = 262144;
  sequence = 0;
  previousRecord = 0;
  previousGeneration = 0;
  previousIndex = 0;
  dumpUuid: Uint8Array;
  readonly #options: BuilderOptions;
  readonly #ranges: readonly (readonly [number, number])[];
  readonly #pending = new Map<number, Descriptor[]>();
  readonly #all: Descriptor[] = [];
  readonly #refs: IndexReference[] = [];
  readonly #stored: number[];
  #notesOffset = 0;
  #counter = 0;

  constructor(options: BuilderOptions = {}) {
    this.#options = options;
    this.image = new Uint8Array(options.size ?? 4 << 20);
    this.pageSize = options.pageSize ?? 4096;
    this.#ranges = options.ranges ?? [[0, 64]];
    this.passes = options.passes ?? [
      { name: 'essential', planned: 8 },
      { name: 'rest', planned: 56 },
    ];
    this.#stored = this.passes.map(() => 0);
    this.dumpUuid = options.dumpUuid ?? BUILT.dumpUuid;
    this.capacity = this.image.length - 65536 - (options.logAreaBytes ?? 65536);
  }

  get maxMapnr(): number {
    return this.#ranges.at(-1)![1];
  }

  /** Both copies at the end. */
  label(
    state: keyof typeof STATES,
    change: { readonly counter?: number; readonly copies?: readonly number[] } = {},
  ): void {
    this.#counter = change.counter ?? this.#counter + 1;
    for (const copy of change.copies ?? [0, 32768]) {
      const at = this.image.length - 65536 + copy;
      this.identity(at);
      this.state(at + 4096, state, this.#counter);
    }
  }

  identity(at: number): void {
    const block = new Uint8Array(4096);
    const view = new DataView(block.buffer);
    put(block, 0, ascii('DDIDENT'));
    view.setUint32(8, 1, true);
    put(block, 16, BUILT.uuid);
    u64(view, 40, this.image.length);
    view.setUint32(48, 512, true);
    view.setInt32(52, 8, true);
    view.setUint32(56, 2, true);
    view.setUint32(60, 7, true);
    u64(view, 64, this.#options.logAreaBytes ?? 65536);
    u64(view, 72, this.capacity);
    u64(view, 160, 1_790_000_000_000);
    view.setUint32(508, crc32(block.subarray(0, 508)), true);
    put(this.image, at, block);
  }

  state(at: number, state: keyof typeof STATES, counter: number): void {
    const block = new Uint8Array(4096);
    const view = new DataView(block.buffer);
    put(block, 0, ascii('DDSTATE'));
    view.setUint32(8, 1, true);
    view.setUint32(12, STATES[state], true);
    put(block, 16, BUILT.uuid);
    u64(view, 32, counter);
    if (state !== 'ready') {
      put(block, 40, this.dumpUuid);
      view.setUint32(56, this.#options.part ?? 1, true);
      put(block, 64, BUILT.bootId);
    }
    view.setUint32(508, crc32(block.subarray(0, 508)), true);
    put(this.image, at, block);
  }

  start(): number {
    const notes = this.#options.notes ?? new Uint8Array(0);
    const ranges = this.#ranges;
    const lists = new Uint8Array(640 + 16 * ranges.length + 64 * this.passes.length + notes.length);
    const view = new DataView(lists.buffer);
    this.#notesOffset = this.end + 128 + lists.length - notes.length;
    u64(view, 0, this.maxMapnr);
    u64(view, 16, 1_790_000_001_000);
    put(lists, 24, BUILT.bootId);
    u64(view, 40, this.#notesOffset);
    u64(view, 48, notes.length);
    const vmcoreinfo = this.#options.vmcoreinfo;
    if (vmcoreinfo) u64(view, 56, this.#notesOffset + vmcoreinfo[0]);
    if (vmcoreinfo) u64(view, 64, vmcoreinfo[1]);
    view.setUint32(72, 1, true);
    view.setUint32(80, ranges.length, true);
    view.setUint32(84, this.passes.length, true);
    view.setUint32(88, 2, true);
    view.setUint32(92, 4, true);
    put(lists, 96, ascii('Linux'));
    put(lists, 96 + 65, ascii('built'));
    put(lists, 96 + 130, ascii('6.12.0-test'));
    put(lists, 96 + 260, ascii('x86_64'));
    view.setUint32(488, 1 << 20, true);
    view.setUint32(492, 4096, true);
    view.setUint32(496, 65536, true);
    u64(view, 504, 1_789_999_999);
    put(lists, 544, ascii('built'));
    ranges.forEach(([start, end], i) => {
      u64(view, 640 + 16 * i, start);
      u64(view, 648 + 16 * i, end);
    });
    this.passes.forEach((_, i) => {
      this.#passRow(lists, 640 + 16 * ranges.length + 64 * i, i, 0);
    });
    put(lists, lists.length - notes.length, notes);
    return this.#append(1, 0xffff, lists, new Uint8Array(0), {});
  }

  /** A chunk of pages in ascending order. */
  chunk(pass: number, pages: readonly BuiltPage[]): number {
    const lists = new Uint8Array(24 * pages.length);
    const view = new DataView(lists.buffer);
    const dataStart = roundUp(128 + lists.length, this.pageSize);
    const bodies: Uint8Array[] = [];
    let at = dataStart;
    pages.forEach((page, i) => {
      const zero = 'zero' in page;
      const bytes = zero ? new Uint8Array(this.pageSize) : page.bytes;
      const packed = !zero && page.zlib ? deflateSync(bytes) : bytes;
      const checksum = crc32(bytes);
      u64(view, 24 * i, page.pfn);
      view.setUint32(24 * i + 8, zero ? 0 : at, true);
      view.setUint32(24 * i + 12, zero ? 0 : packed.length, true);
      view.setUint32(24 * i + 16, checksum, true);
      view.setUint16(24 * i + 20, zero ? 0x8000 : page.zlib ? 1 : 0, true);
      this.#keep(pass, {
        pfn: page.pfn,
        offset: zero ? 2 * this.pageSize : this.end + at,
        length: zero ? this.pageSize : packed.length,
        flags: !zero && page.zlib ? 1 : 0,
        checksum,
      });
      this.pages.set(page.pfn, bytes);
      if (zero) return;
      bodies.push(packed);
      at += packed.length;
    });
    const body = new Uint8Array(at - dataStart);
    let filled = 0;
    for (const bytes of bodies) {
      body.set(bytes, filled);
      filled += bytes.length;
    }
    this.#stored[pass]! += pages.length;
    return this.#append(2, pass, lists, body, { entries: pages.map((page) => page.pfn), bodyAt: dataStart });
  }

  /** An index of the pages of a pass that wait for one. */
  index(pass: number): number {
    const entries = this.#pending.get(pass) ?? [];
    this.#pending.set(pass, []);
    const lists = new Uint8Array(32 * entries.length);
    const view = new DataView(lists.buffer);
    entries.forEach((entry, i) => {
      u64(view, 32 * i, entry.pfn);
      descriptor(view, 32 * i + 8, entry);
    });
    const offset = this.#append(3, pass, lists, new Uint8Array(0), { entries: entries.map((entry) => entry.pfn) });
    this.#refs.push({ offset, first: entries[0]!.pfn, last: entries.at(-1)!.pfn, count: entries.length, pass });
    this.previousIndex = offset;
    return offset;
  }

  /** A generation of everything so far, and the offset of its bitmap 1. */
  generation(options: { readonly last?: boolean; readonly runRecord?: string } = {}): {
    offset: number;
    bitmap1: number;
  } {
    const run = ascii(options.runRecord ?? '');
    const entries = [...this.#all].sort((a, b) => a.pfn - b.pfn);
    const bitmapBytes = roundUp(Math.ceil(this.maxMapnr / 8), this.pageSize);
    const [bitmap1, bitmap2] = [new Uint8Array(bitmapBytes), new Uint8Array(bitmapBytes)];
    for (const [start, end] of this.#ranges) for (let pfn = start; pfn < end; pfn++) setBit(bitmap1, pfn);
    for (const { pfn } of entries) setBit(bitmap2, pfn);
    const table = new Uint8Array(24 * entries.length);
    entries.forEach((entry, i) => {
      descriptor(new DataView(table.buffer), 24 * i, entry);
    });
    const lists = new Uint8Array(128 + 64 * this.passes.length + 32 * this.#refs.length + run.length);
    const view = new DataView(lists.buffer);
    const headLength = roundUp(128 + lists.length, this.pageSize);
    const bitmap1Offset = this.end + headLength;
    u64(view, 0, bitmap1Offset);
    u64(view, 8, bitmapBytes);
    u64(view, 16, bitmap1Offset + 2 * bitmapBytes);
    u64(view, 24, entries.length);
    u64(
      view,
      32,
      this.#ranges.reduce((sum, [start, end]) => sum + end - start, 0),
    );
    u64(view, 40, entries.filter((entry) => entry.offset === 2 * this.pageSize).length);
    u64(
      view,
      48,
      this.passes.reduce((sum, pass) => sum + pass.planned, 0),
    );
    view.setUint32(64, crc32(bitmap1), true);
    view.setUint32(68, crc32(bitmap2), true);
    view.setUint32(72, crc32(table), true);
    view.setUint32(76, this.passes.length, true);
    view.setUint32(80, this.#refs.length, true);
    view.setUint32(84, run.length, true);
    this.passes.forEach((_, i) => {
      this.#passRow(lists, 128 + 64 * i, i, this.#stored[i]!);
    });
    this.#refs.forEach((ref, i) => {
      const at = 128 + 64 * this.passes.length + 32 * i;
      u64(view, at, ref.offset);
      u64(view, at + 8, ref.first);
      u64(view, at + 16, ref.last);
      view.setUint32(at + 24, ref.count, true);
      view.setUint32(at + 28, ref.pass, true);
    });
    put(lists, lists.length - run.length, run);
    const body = new Uint8Array(2 * bitmapBytes + table.length);
    put(body, 0, bitmap1);
    put(body, bitmapBytes, bitmap2);
    put(body, 2 * bitmapBytes, table);
    const offset = this.#append(4, 0xffff, lists, body, { last: options.last === true, bodyAt: headLength });
    this.previousGeneration = offset;
    return { offset, bitmap1: bitmap1Offset };
  }

  /** Blocks 0 and 1 for the generation whose bitmap 1 lies there, and the zero page. */
  blockZero(bitmap1: number, status = 0): void {
    const { image, pageSize } = this;
    image.fill(0, 0, 262144);
    const view = new DataView(image.buffer);
    put(image, 0, ascii('KDUMP   '));
    view.setInt32(8, 6, true);
    put(image, 12 + 260, ascii('x86_64'));
    view.setUint32(424, status, true);
    view.setInt32(428, pageSize, true);
    view.setInt32(432, bitmap1 / pageSize - 1, true);
    view.setUint32(436, (2 * roundUp(Math.ceil(this.maxMapnr / 8), pageSize)) / pageSize, true);
    view.setUint32(440, this.maxMapnr, true);
    view.setInt32(460, 2, true);
    view.setInt32(pageSize + 8, 1, true);
    u64(view, pageSize + 48, this.#notesOffset);
    u64(view, pageSize + 56, (this.#options.notes ?? []).length);
    u64(view, pageSize + 96, this.maxMapnr);
  }

  #keep(pass: number, entry: Descriptor): void {
    this.#all.push(entry);
    this.#pending.set(pass, [...(this.#pending.get(pass) ?? []), entry]);
  }

  #passRow(lists: Uint8Array, at: number, pass: number, stored: number): void {
    const view = new DataView(lists.buffer);
    const { name, planned } = this.passes[pass]!;
    put(lists, at, ascii(name));
    u64(view, at + 16, planned);
    u64(view, at + 24, stored);
    u64(view, at + 40, this.#refs.filter((ref) => ref.pass === pass).length);
    view.setUint32(at + 48, stored === 0 ? 0 : stored < planned ? 1 : 2, true);
  }

  #append(
    kind: number,
    pass: number,
    lists: Uint8Array,
    body: Uint8Array,
    more: { readonly entries?: readonly number[]; readonly last?: boolean; readonly bodyAt?: number },
  ): number {
    const bodyAt = more.bodyAt ?? roundUp(128 + lists.length, this.pageSize);
    const record = new Uint8Array(roundUp(bodyAt + body.length, this.pageSize));
    const view = new DataView(record.buffer);
    const offset = this.end;
    put(record, 0, ascii('DDRECORD'));
    view.setUint16(8, 1, true);
    view.setUint16(10, kind, true);
    view.setUint16(12, pass, true);
    view.setUint16(14, more.last ? 1 : 0, true);
    put(record, 16, this.dumpUuid);
    view.setUint32(32, this.#options.part ?? 1, true);
    view.setUint32(36, this.pageSize, true);
    u64(view, 40, ++this.sequence);
    u64(view, 48, offset);
    u64(view, 56, record.length);
    u64(view, 64, this.previousRecord);
    u64(view, 72, this.previousGeneration);
    u64(view, 80, this.previousIndex);
    u64(view, 88, lists.length);
    view.setUint32(96, more.entries?.length ?? 0, true);
    view.setUint32(100, this.pageSize, true);
    const entries = more.entries ?? [];
    if (entries.length === 0) record.fill(0xff, 104, 120);
    else {
      u64(view, 104, entries[0]!);
      u64(view, 112, entries.at(-1)!);
    }
    view.setUint32(120, crc32(lists), true);
    view.setUint32(124, crc32(record.subarray(0, 124)), true);
    put(record, 128, lists);
    put(record, bodyAt, body);
    put(this.image, offset, record);
    this.previousRecord = offset;
    this.end = offset + record.length;
    return offset;
  }
}

/** A page that tells its pfn, and compresses. */
export function pageOf(pfn: number, pageSize = 4096): Uint8Array {
  const page = new Uint8Array(pageSize);
  const view = new DataView(page.buffer);
  for (let i = 0; i < pageSize; i += 4)
    view.setUint32(i, i % 64 < 32 ? pfn + 1 : Math.imul(pfn + 1, i + 0x9e3779b1), true);
  return page;
}

/** Pages `start`…`end`−1: every fourth zero, every fourth compressed. */
export function pagesOf(start: number, end: number, pageSize = 4096): BuiltPage[] {
  return Array.from({ length: end - start }, (_, i) => {
    const pfn = start + i;
    if (pfn % 4 === 3) return { pfn, zero: true };
    return { pfn, bytes: pageOf(pfn, pageSize), zlib: pfn % 4 === 2 };
  });
}

/** Faults and counts of a {@link memoryDevice}. */
export interface MemoryDeviceHooks {
  /** Called before each operation; throws to make it fail. */
  readonly before?: (operation: 'read' | 'write' | 'flush', offset: number, length: number) => void;
  readonly blockSize?: number;
  readonly start?: number;
  readonly serial?: string;
}

/** An image as a dump device. */
export function memoryDevice(image: Uint8Array, hooks: MemoryDeviceHooks = {}): DumpDevice {
  return {
    name: 'memory',
    blockSize: hooks.blockSize ?? 512,
    size: image.length,
    maxTransfer: 1 << 20,
    location: { start: hooks.start ?? 0, serial: hooks.serial ?? '' },
    sanityCheck() {},
    quiesce() {},
    read(target, offset) {
      hooks.before?.('read', offset, target.length);
      target.set(image.subarray(offset, offset + target.length));
    },
    write(bytes, offset) {
      hooks.before?.('write', offset, bytes.length);
      image.set(bytes, offset);
    },
    flush() {
      hooks.before?.('flush', 0, 0);
    },
    shutdown() {},
  };
}

/** The error of a bad sector. */
export function badSector(operation: 'read' | 'write' | 'flush', offset: number): DeviceError {
  return new DeviceError('DEVICE_IO', `injected: ${operation} at ${offset} failed`, {
    device: 'memory',
    operation,
    offset,
    errno: 'EIO',
  });
}

function descriptor(view: DataView, at: number, entry: Descriptor): void {
  u64(view, at, entry.offset);
  view.setUint32(at + 8, entry.length, true);
  view.setUint32(at + 12, entry.flags, true);
  view.setUint32(at + 16, entry.checksum, true);
  view.setUint32(at + 20, entry.pfn % 2 ** 32, true);
}

function setBit(bitmap: Uint8Array, bit: number): void {
  bitmap[bit >> 3]! |= 1 << (bit & 7);
}

function put(bytes: Uint8Array, at: number, part: Uint8Array): void {
  bytes.set(part, at);
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function u64(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
