/**
 * KDUMP files of chosen pages, one page a block and every page in a block of its own, so that the offset of a read tells
 * the page. Written from the format's description, independently of the product's writer.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import type { Note } from '../../src/format/notes.ts';
import type { PageRun, VmcoreHeader } from '../../src/format/vmcore.ts';
import type { KernelBuilder } from './kernel-builder.ts';

const PAGE = 4096;
const DESC = 24;

/** Where the pages of a file lie. */
export interface PlacedKdump {
  /** File offset of the first page. */
  readonly dataOffset: number;
  /** Pfns in the order of their blocks. */
  readonly pfns: readonly number[];
}

/** As much of a dump as goes into a file. */
export interface DumpedMemory {
  readonly arch: string;
  readonly maxMapnr: number;
  readonly header: Pick<VmcoreHeader, 'utsname' | 'timestampSeconds'>;
  readonly notes: readonly Pick<Note, 'owner' | 'type' | 'desc'>[];
  readonly vmcoreinfo: Uint8Array | undefined;
  walkPages(): Iterable<PageRun>;
  readPage(pfn: number, target: Uint8Array): void;
}

/** What {@link writePlacedKdump} puts into a file. */
export interface PlacedKdumpPlan {
  readonly path: string;
  /** Gives the pages, notes, utsname. */
  readonly vmcore: DumpedMemory;
  /** Contents of the PT_NOTE segment. */
  readonly notes: Uint8Array;
  /** Pages to keep; all by default. */
  readonly keep?: (pfn: number) => boolean;
  /** What the header says was left out on purpose; 1, zero pages, by default. */
  readonly dumpLevel?: number;
}

/** Writes a version 6 KDUMP, stored raw, with bitmap 1 of all that `vmcore` has and bitmap 2 of what is kept. */
export function writePlacedKdump({
  path,
  vmcore,
  notes,
  keep = () => true,
  dumpLevel = 1,
}: PlacedKdumpPlan): PlacedKdump {
  const bitmapBlocks = Math.ceil(vmcore.maxMapnr / 8 / PAGE);
  const noteBlocks = Math.ceil(notes.length / PAGE);
  const bitmaps = new Uint8Array(2 * bitmapBlocks * PAGE);
  const pfns: number[] = [];
  for (const run of vmcore.walkPages()) {
    for (let pfn = run.start; pfn < run.end; pfn++) {
      bitmaps[pfn >>> 3]! |= 1 << (pfn & 7);
      if ((run.presence !== 'stored' && run.presence !== 'zero') || !keep(pfn)) continue;
      bitmaps[bitmapBlocks * PAGE + (pfn >>> 3)]! |= 1 << (pfn & 7);
      pfns.push(pfn);
    }
  }
  const descOffset = (2 + noteBlocks + 2 * bitmapBlocks) * PAGE;
  const dataOffset = descOffset + Math.ceil((pfns.length * DESC) / PAGE) * PAGE;
  const file = openSync(path, 'w');
  try {
    writeSync(file, encodeHeaders(vmcore, notes, { bitmapBlocks, dumpLevel }), 0, undefined, 0);
    writeSync(file, notes, 0, undefined, 2 * PAGE);
    writeSync(file, bitmaps, 0, undefined, (2 + noteBlocks) * PAGE);
    writeSync(file, encodeDescriptors(pfns.length, dataOffset), 0, undefined, descOffset);
    const page = new Uint8Array(PAGE);
    pfns.forEach((pfn, rank) => {
      vmcore.readPage(pfn, page);
      writeSync(file, page, 0, PAGE, dataOffset + rank * PAGE);
    });
  } finally {
    closeSync(file);
  }
  return { dataOffset, pfns };
}

function encodeHeaders(
  vmcore: DumpedMemory,
  notes: Uint8Array,
  { bitmapBlocks, dumpLevel }: { readonly bitmapBlocks: number; readonly dumpLevel: number },
): Uint8Array {
  const block = Buffer.alloc(2 * PAGE);
  const { utsname } = vmcore.header;
  block.write('KDUMP   ', 0, 'latin1');
  block.writeInt32LE(6, 8);
  const names = utsname ?? guessUtsname(vmcore);
  [names.sysname, names.nodename, names.release, names.version, names.machine, names.domainname].forEach((name, i) => {
    block.write(name, 12 + 65 * i, 64, 'latin1');
  });
  block.writeBigInt64LE(BigInt(vmcore.header.timestampSeconds ?? 0), 408);
  block.writeInt32LE(PAGE, 428);
  block.writeInt32LE(1 + Math.ceil(notes.length / PAGE), 432);
  block.writeUInt32LE(2 * bitmapBlocks, 436);
  block.writeUInt32LE(vmcore.maxMapnr, 440);
  block.writeInt32LE(1, 460);
  const vmcoreinfoAt = Buffer.from(notes).indexOf('OSRELEASE=');
  const vmcoreinfo = Buffer.from(vmcore.vmcoreinfo ?? []).toString('latin1');
  const physBase = /^NUMBER\(phys_base\)=(-?\d+)$/m.exec(vmcoreinfo)?.[1] ?? '0';
  block.writeBigInt64LE(BigInt(physBase), PAGE + 0);
  block.writeInt32LE(dumpLevel, PAGE + 8);
  block.writeBigInt64LE(BigInt(2 * PAGE + vmcoreinfoAt), PAGE + 32);
  block.writeBigUInt64LE(BigInt(vmcoreinfo.length), PAGE + 40);
  block.writeBigInt64LE(BigInt(2 * PAGE), PAGE + 48);
  block.writeBigUInt64LE(BigInt(notes.length), PAGE + 56);
  block.writeBigUInt64LE(BigInt(vmcore.maxMapnr), PAGE + 96);
  return block;
}

function encodeDescriptors(count: number, dataOffset: number): Uint8Array {
  const table = Buffer.alloc(count * DESC);
  for (let rank = 0; rank < count; rank++) {
    table.writeBigInt64LE(BigInt(dataOffset + rank * PAGE), rank * DESC);
    table.writeUInt32LE(PAGE, rank * DESC + 8);
  }
  return table;
}

/** What an ELF core does not say of itself: enough that other tools know the machine. */
function guessUtsname(
  vmcore: DumpedMemory,
): Record<'sysname' | 'nodename' | 'release' | 'version' | 'machine' | 'domainname', string> {
  const text = Buffer.from(vmcore.vmcoreinfo ?? []).toString('latin1');
  const release = /^OSRELEASE=(.*)$/m.exec(text)?.[1] ?? '';
  // libkdumpfile 0.5 knows no architecture where the version is empty.
  return { sysname: 'Linux', nodename: '(none)', release, version: '#1', machine: vmcore.arch, domainname: '' };
}

/** Notes as one PT_NOTE segment, from the parsed ones. */
export function encodeNotes(vmcore: DumpedMemory): Uint8Array {
  const parts: Buffer[] = [];
  for (const note of vmcore.notes) {
    const head = Buffer.alloc(12);
    head.writeUInt32LE(note.owner.length + 1, 0);
    head.writeUInt32LE(note.desc.length, 4);
    head.writeUInt32LE(note.type, 8);
    const name = Buffer.alloc(Math.ceil((note.owner.length + 1) / 4) * 4);
    name.write(note.owner, 'latin1');
    const desc = Buffer.alloc(Math.ceil(note.desc.length / 4) * 4);
    desc.set(note.desc);
    parts.push(head, name, desc);
  }
  return Buffer.concat(parts);
}

/** Writes a built kernel as a dump of level 31, taken at `timestampSeconds`; what was lost counts as excluded. */
export function writeBuiltKernel(builder: KernelBuilder, path: string, timestampSeconds = 0): void {
  const pfns = [...builder.pages().keys()].sort((a, b) => a - b);
  const vmcoreinfo = builder.vmcoreinfo();
  const vmcore: DumpedMemory = {
    arch: 'x86_64',
    maxMapnr: (pfns.at(-1) ?? 0) + 1,
    header: { timestampSeconds },
    notes: [{ owner: 'VMCOREINFO', type: 0, desc: vmcoreinfo }],
    vmcoreinfo,
    walkPages: () => pfns.map((pfn) => ({ start: pfn, end: pfn + 1, presence: 'stored' })),
    readPage: (pfn, target) => builder.readPage(pfn, target),
  };
  writePlacedKdump({ path, vmcore, notes: encodeNotes(vmcore), keep: (pfn) => !builder.isLost(pfn), dumpLevel: 31 });
}
