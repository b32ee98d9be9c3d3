/** ELF64 cores of /proc/vmcore, makedumpfile -E and QEMU, opened as a {@link Vmcore}. */

import type { Pfn } from '../../base/address.ts';
import { FormatError, NoDataError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { countRanges, findRange, type Range, subtractRanges } from '../../base/ranges.ts';
import type { ByteSource } from '../../base/source.ts';
import { CODEC_FLAG } from '../../codec/codec.ts';
import { findNote, type Note, prstatusNotes, VMCOREINFO_OWNER, walkNotes } from '../notes.ts';
import { readAhead } from '../read-ahead.ts';
import type {
  ArchName,
  PageCounts,
  PagePresence,
  PageRun,
  StoredPage,
  VirtualSegment,
  Vmcore,
  VmcoreHeader,
} from '../vmcore.ts';
import { vmcoreinfoPageSize } from '../vmcoreinfo-text.ts';
import { type ElfPages, type Extents, firstExtent, planExtents, planPages } from './extents.ts';
import { type ElfCore, type ElfLoad, readElfCore } from './headers.ts';
import { NO_ADDRESS } from './layout.ts';

/** Where vmcoreinfo does not say. arm64 and ppc64 kernels may have larger pages, and then say so. */
const PAGE_SIZE_DEFAULT = 4096;

/**
 * Opens an ELF64 core. Reads headers and notes only.
 *
 * A page with any byte in the file is there and its missing bytes are zero; a page whose bytes should be in the file
 * and lie beyond its end is a hole; one in a segment's tail beyond p_filesz was excluded.
 *
 * @throws FormatError, UnsupportedError: see `readElfCore`.
 */
export function openElf(source: ByteSource): Vmcore {
  return new ElfVmcore(source, readElfCore(source));
}

class ElfVmcore implements Vmcore {
  readonly name: string;
  readonly format = 'elf';
  readonly state: 'complete' | 'partial';
  readonly partialReason?: string;
  readonly arch: ArchName;
  readonly littleEndian: boolean;
  readonly wordSize: 4 | 8;
  readonly pageSize: number;
  readonly maxMapnr: number;
  readonly header: VmcoreHeader;
  readonly notes: readonly Note[];
  readonly vmcoreinfo: Uint8Array | undefined;
  readonly segments: readonly VirtualSegment[];
  readonly #data: ByteSource;
  readonly #extents: Extents;
  readonly #pages: ElfPages;

  constructor(source: ByteSource, core: ElfCore) {
    this.name = source.name;
    this.arch = core.arch;
    this.littleEndian = core.littleEndian;
    // A 32-bit machine with memory past 4 GiB gets a 64-bit core, so does one whose firmware ends there.
    this.wordSize = core.arch === 'i386' || core.arch === 'arm' ? 4 : 8;
    this.notes = walkNotes(core.notes, core.littleEndian);
    this.vmcoreinfo = findNote(this.notes, VMCOREINFO_OWNER)?.desc;
    this.pageSize = vmcoreinfoPageSize(this.vmcoreinfo) ?? PAGE_SIZE_DEFAULT;
    this.header = { cpuCount: prstatusNotes(this.notes).length, version: 2 };
    this.segments = planSegments(core.loads);
    this.#data = readAhead(source);
    this.#extents = planExtents(core.loads);
    this.#pages = planPages(core.loads, this.#extents, this.pageSize, source.size);
    this.maxMapnr = Math.max(this.#pages.present.at(-1)?.end ?? 0, this.#pages.excluded.at(-1)?.end ?? 0);
    const reason = partialReason(core, this.#pages);
    this.state = reason === undefined ? 'complete' : 'partial';
    if (reason !== undefined) this.partialReason = reason;
  }

  presence(pfn: Pfn): PagePresence {
    const { present, cut, excluded } = this.#pages;
    if (findRange(present, pfn) >= 0) return findRange(cut, pfn) >= 0 ? 'hole' : 'stored';
    return findRange(excluded, pfn) >= 0 ? 'excluded' : 'absent';
  }

  readPage(pfn: Pfn, target: Uint8Array): void {
    const presence = this.presence(pfn);
    if (presence !== 'stored') throw this.#noData(pfn, presence);
    const start = pfn * this.pageSize;
    const end = start + this.pageSize;
    const { count, start: starts, end: ends, offset } = this.#extents;
    const first = firstExtent(this.#extents, start);
    if (starts[first]! <= start && ends[first]! >= end) {
      this.#read(pfn, wholePage(target, this.pageSize), offset[first]! + (start - starts[first]!));
      return;
    }
    target.fill(0, 0, this.pageSize);
    for (let i = first; i < count && starts[i]! < end; i++) {
      const from = Math.max(start, starts[i]!);
      const to = Math.min(end, ends[i]!);
      this.#read(pfn, target.subarray(from - start, to - start), offset[i]! + (from - starts[i]!));
    }
  }

  readStored(pfn: Pfn, target: Uint8Array): StoredPage {
    this.readPage(pfn, target);
    return { flags: CODEC_FLAG.raw, length: this.pageSize };
  }

  *walkPages(start: Pfn = 0): Generator<PageRun> {
    const { present, cut, excluded } = this.#pages;
    const stored = subtractRanges(present, cut);
    const runs: PageRun[] = [
      ...stored.map((range) => ({ ...range, presence: 'stored' as const })),
      ...cut.map((range) => ({ ...range, presence: 'hole' as const })),
      ...excluded.map((range) => ({ ...range, presence: 'excluded' as const })),
    ];
    for (const run of runs.sort((a, b) => a.start - b.start)) {
      if (run.end > start) yield { ...run, start: Math.max(run.start, start) };
    }
  }

  countPages(): PageCounts {
    const present = countRanges(this.#pages.present);
    const stored = present - countRanges(this.#pages.cut);
    return { present, stored, zero: 0, byCodec: stored === 0 ? {} : { raw: stored } };
  }

  #read(pfn: number, target: Uint8Array, offset: number): void {
    const got = this.#data.readInto(target, offset);
    if (got === target.length) return;
    throw new FormatError(
      'TRUNCATED',
      `page ${hex(pfn)} of ${this.name}: ${got} of ${target.length} bytes at offset ${hex(offset)}`,
      { pfn, offset, length: target.length, got },
    );
  }

  #noData(pfn: number, presence: Exclude<PagePresence, 'stored'>): NoDataError {
    const page = `page ${hex(pfn)} of ${this.name}`;
    switch (presence) {
      case 'excluded':
        return new NoDataError('PAGE_EXCLUDED', `${page} was excluded: its segment has no bytes for it`, { pfn });
      case 'hole':
        return new NoDataError('PAGE_HOLE', `${page} is a hole: its bytes lie beyond the end of the file`, { pfn });
      default:
        return new NoDataError('PAGE_ABSENT', `${page}: no segment holds that address`, { pfn });
    }
  }
}

function wholePage(target: Uint8Array, pageSize: number): Uint8Array {
  return target.length === pageSize ? target : target.subarray(0, pageSize);
}

function partialReason(core: ElfCore, pages: ElfPages): string | undefined {
  if (core.incomplete) return 'its writer marked it incomplete';
  const cut: readonly Range[] = pages.cut;
  return cut.length > 0 ? `the file ends before its last ${countRanges(cut)} pages` : undefined;
}

/** Virtual mappings. QEMU without paging writes the physical address as the virtual one: that is none. */
function planSegments(loads: readonly ElfLoad[]): VirtualSegment[] {
  return loads
    .filter((load) => load.vaddr !== NO_ADDRESS && load.vaddr !== BigInt(load.paddr) && load.memorySize > 0)
    .map((load) => ({ vaddr: load.vaddr, paddr: load.paddr, size: load.memorySize }));
}
