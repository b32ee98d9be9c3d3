/**
 * KDUMP files from a few lines, and a plain reading of them: both straight from the format's description, with none of the
 * code that they test.
 */

import { deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

/** A page of a built dump: bytes, zeros in the shared page, or a descriptor without data. */
export interface BuiltPage {
  readonly pfn: number;
  readonly bytes: Uint8Array | 'zero' | 'lost';
  readonly codec?: 'raw' | 'zlib' | 'zstd' | 'lzo';
  /** Halves of page_flags. */
  readonly proof?: readonly [low: number, high: number];
}

/** What to build; every field has a default. */
export interface KdumpRecipe {
  readonly version?: number;
  readonly pageSize?: number;
  readonly maxMapnr?: number;
  readonly dumpLevel?: number;
  readonly status?: number;
  readonly split?: number;
  readonly pages?: readonly BuiltPage[];
  /** Pages of bitmap 1 besides those in `pages`. */
  readonly alsoPresent?: readonly number[];
  readonly notes?: Uint8Array;
  readonly vmcoreinfo?: string;
  /** Bitmaps and descriptors behind the data, the zero page in block 2, as on a dump device. */
  readonly metadataLast?: boolean;
  /** One bitmap instead of two, as some old writers. */
  readonly singleBitmap?: boolean;
  readonly machine?: string;
}

/** Bytes of a KDUMP file. */
export function buildKdump(recipe: KdumpRecipe = {}): Uint8Array {
  const { version = 6, pageSize = 4096, maxMapnr = 64, dumpLevel = 1, status = 0, pages = [] } = recipe;
  const notes = concat([recipe.notes ?? new Uint8Array(0), vmcoreinfoNote(recipe.vmcoreinfo)]);
  const sorted = [...pages].sort((a, b) => a.pfn - b.pfn);
  const bitmapLength = Math.ceil(Math.ceil(maxMapnr / 8) / pageSize) * pageSize;
  const bitmaps = recipe.singleBitmap ? 1 : 2;
  const tableLength = bitmaps * bitmapLength + 24 * sorted.length;
  const blobs = sorted.map((page) => storeBytes(page));
  const blobsLength = blobs.reduce((sum, blob) => sum + blob.length, 0);

  const notesEnd = pageSize + 104 + notes.length;
  const dataFirst = Math.max(3 * pageSize, Math.ceil(notesEnd / pageSize) * pageSize);
  const tables = recipe.metadataLast
    ? Math.ceil((dataFirst + blobsLength) / pageSize) * pageSize
    : Math.ceil(notesEnd / pageSize) * pageSize;
  const zeroAt = recipe.metadataLast ? 2 * pageSize : tables + tableLength;
  const dataAt = recipe.metadataLast ? dataFirst : zeroAt + (dumpLevel & 1 ? pageSize : 0);
  const size = recipe.metadataLast ? tables + tableLength : dataAt + blobsLength;

  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  file.set(text('KDUMP   '), 0);
  view.setInt32(8, version, true);
  file.set(text(recipe.machine ?? 'x86_64'), 12 + 260);
  view.setUint32(424, status, true);
  view.setInt32(428, pageSize, true);
  view.setInt32(432, tables / pageSize - 1, true);
  view.setUint32(436, (bitmaps * bitmapLength) / pageSize, true);
  view.setUint32(440, maxMapnr, true);
  view.setInt32(460, 1, true);
  view.setInt32(pageSize + 8, dumpLevel, true);
  view.setInt32(pageSize + 12, recipe.split ?? 0, true);
  if (recipe.vmcoreinfo !== undefined && version >= 3) {
    view.setUint32(pageSize + 32, notesEnd - padded(recipe.vmcoreinfo.length), true);
    view.setUint32(pageSize + 40, recipe.vmcoreinfo.length, true);
  }
  if (notes.length > 0 && version >= 4) {
    view.setUint32(pageSize + 48, pageSize + 104, true);
    view.setUint32(pageSize + 56, notes.length, true);
  }
  if (version >= 6) view.setUint32(pageSize + 96, maxMapnr, true);
  file.set(notes, pageSize + 104);

  const mark = (bitmap: number, pfn: number): void => {
    file[tables + bitmap * bitmapLength + (pfn >> 3)]! |= 1 << (pfn & 7);
  };
  for (const pfn of recipe.alsoPresent ?? []) mark(0, pfn);
  let at = dataAt;
  sorted.forEach((page, rank) => {
    for (let bitmap = 0; bitmap < bitmaps; bitmap++) mark(bitmap, page.pfn);
    const blob = blobs[rank] as Uint8Array;
    const descriptor = tables + bitmaps * bitmapLength + 24 * rank;
    const proof = page.proof ?? [0, 0];
    view.setUint32(descriptor + 16, proof[0], true);
    view.setUint32(descriptor + 20, proof[1], true);
    if (page.bytes === 'lost') return;
    view.setUint32(descriptor, page.bytes === 'zero' ? zeroAt : at, true);
    view.setUint32(descriptor + 8, page.bytes === 'zero' ? pageSize : blob.length, true);
    view.setUint32(descriptor + 12, FLAGS[page.codec ?? 'raw'], true);
    file.set(blob, at);
    at += blob.length;
  });
  return file;
}

const FLAGS = { raw: 0, zlib: 1, lzo: 2, zstd: 0x20 } as const;

function storeBytes({ bytes, codec = 'raw' }: BuiltPage): Uint8Array {
  if (typeof bytes === 'string') return new Uint8Array(0);
  if (codec === 'zlib') return deflateSync(bytes);
  if (codec === 'zstd') return zstdCompressSync(bytes);
  return bytes;
}

/** What a whole KDUMP v6 file holds, read without windows, ranks or trust in any code of ours. */
export interface PlainKdump {
  readonly status: number;
  readonly timestamp: readonly [number, number];
  readonly dumpLevel: number;
  readonly notes: Uint8Array;
  readonly vmcoreinfo: string;
  readonly present: ReadonlySet<number>;
  /** Bytes by pfn; a lost page is absent. */
  readonly pages: ReadonlyMap<number, Uint8Array>;
  readonly proofs: ReadonlyMap<number, readonly [low: number, high: number]>;
  /** Descriptors that share the offset of another. */
  readonly shared: number;
}

/** Reads a version 6, 64-bit file of at most 2 GiB; throws on anything odd. */
export function readPlainKdump(file: Uint8Array): PlainKdump {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  if (latin(file.subarray(0, 8)) !== 'KDUMP   ' || view.getInt32(8, true) !== 6) throw new Error('not a KDUMP v6 file');
  const pageSize = view.getInt32(428, true);
  const bitmap1 = (1 + view.getInt32(432, true)) * pageSize;
  const bitmapBlocks = view.getUint32(436, true);
  const bitmap2 = bitmap1 + (bitmapBlocks / 2) * pageSize;
  const descriptors = bitmap1 + bitmapBlocks * pageSize;
  const maxMapnr = u64(pageSize + 96);
  const isSet = (bitmap: number, pfn: number): boolean => ((file[bitmap + (pfn >> 3)]! >> (pfn & 7)) & 1) === 1;
  const pages = new Map<number, Uint8Array>();
  const proofs = new Map<number, readonly [number, number]>();
  const present = new Set<number>();
  const offsets = new Set<number>();
  let rank = 0;
  let shared = 0;
  for (let pfn = 0; pfn < (bitmapBlocks / 2) * pageSize * 8; pfn++) {
    if (isSet(bitmap1, pfn)) present.add(pfn);
    if (!isSet(bitmap2, pfn)) continue;
    if (pfn >= maxMapnr) throw new Error(`bit of pfn ${pfn} past max_mapnr ${maxMapnr}`);
    const at = descriptors + 24 * rank++;
    const [offset, length, flags] = [u64(at), view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
    proofs.set(pfn, [view.getUint32(at + 16, true), view.getUint32(at + 20, true)]);
    if (offset === 0) continue;
    if (offsets.has(offset)) shared++;
    offsets.add(offset);
    const stored = file.subarray(offset, offset + length);
    if (stored.length !== length) throw new Error(`page ${pfn} lies beyond the end`);
    const bytes = flags === 1 ? inflateSync(stored) : flags === 0x20 ? zstdDecompressSync(stored) : stored;
    if ((flags & ~0x21) !== 0 || bytes.length !== pageSize) throw new Error(`page ${pfn}: flags ${flags}`);
    pages.set(pfn, new Uint8Array(bytes));
  }
  const notesAt = u64(pageSize + 48);
  const infoAt = u64(pageSize + 32);
  return {
    status: view.getUint32(424, true),
    timestamp: [u64(408), u64(416)],
    dumpLevel: view.getInt32(pageSize + 8, true),
    notes: file.subarray(notesAt, notesAt + u64(pageSize + 56)),
    vmcoreinfo: latin(file.subarray(infoAt, infoAt + u64(pageSize + 40))),
    present,
    pages,
    proofs,
    shared,
  };
}

/** One ELF note. */
export function buildNote(owner: string, type: number, desc: Uint8Array): Uint8Array {
  const name = text(`${owner}\0`);
  const note = new Uint8Array(12 + padded(name.length) + padded(desc.length));
  const view = new DataView(note.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, desc.length, true);
  view.setUint32(8, type, true);
  note.set(name, 12);
  note.set(desc, 12 + padded(name.length));
  return note;
}

/** NT_PRSTATUS of an x86-64 CPU whose rip is given. */
export function buildPrstatus(pid: number, rip: bigint): Uint8Array {
  const desc = new Uint8Array(336);
  const view = new DataView(desc.buffer);
  view.setUint32(32, pid, true);
  view.setBigUint64(112 + 128, rip, true);
  return buildNote('CORE', 1, desc);
}

/** A page that is told apart from every other and compresses. */
export function buildPage(pfn: number, pageSize = 4096): Uint8Array {
  const page = new Uint8Array(pageSize);
  const view = new DataView(page.buffer);
  for (let at = 0; at < pageSize; at += 64) view.setUint32(at, (pfn * 2654435761 + at) >>> 0, true);
  return page;
}

function vmcoreinfoNote(vmcoreinfo: string | undefined): Uint8Array {
  return vmcoreinfo === undefined ? new Uint8Array(0) : buildNote('VMCOREINFO', 0, text(vmcoreinfo));
}

/** The parts one after the other. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function latin(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function padded(size: number): number {
  return Math.ceil(size / 4) * 4;
}
