/** What every reader of a dump yields, whatever the file it came from. */

import type { Pfn } from '../base/address.ts';
import type { Note } from './notes.ts';

/** Formats by name, as `info` prints them. */
export type FormatName = 'kdump' | 'elf' | 'flattened' | 'diskdump' | 'lkcd' | 'mcore';

export type ArchName =
  | 'x86_64'
  | 'i386'
  | 'aarch64'
  | 'arm'
  | 'ppc64'
  | 's390x'
  | 'riscv64'
  | 'loongarch64'
  | 'unknown';

/**
 * Why a page can or cannot be read:
 * `stored`: its contents are in the dump; `zero`: known to be zero without reading;
 * `excluded`: it existed and a filter left it out; `hole`: it should be there and is not (unreadable when captured,
 * damaged, never reached by a partial dump); `absent`: no memory at that pfn.
 */
export type PagePresence = 'stored' | 'zero' | 'excluded' | 'hole' | 'absent';

/** Neighbouring pages of one presence, pfns half-open. */
export interface PageRun {
  readonly start: Pfn;
  readonly end: Pfn;
  readonly presence: Exclude<PagePresence, 'absent'>;
}

/** `struct new_utsname`: six strings of at most 64 bytes. */
export interface Utsname {
  readonly sysname: string;
  readonly nodename: string;
  readonly release: string;
  readonly version: string;
  readonly machine: string;
  readonly domainname: string;
}

/** Memory that a segment table maps at a virtual address, as ELF cores do. */
export interface VirtualSegment {
  readonly vaddr: bigint;
  readonly paddr: number;
  readonly size: number;
}

/** One pass of a dump that stage 1 wrote. */
export interface PassState {
  readonly name: string;
  readonly planned: number;
  readonly stored: number;
  readonly complete: boolean;
}

/** Facts from the file's own header; each absent where the format has no such field. */
export interface VmcoreHeader {
  readonly utsname?: Utsname;
  /** Crash or dump time, whole seconds since 1970. */
  readonly timestampSeconds?: number;
  readonly dumpLevel?: number;
  /** Two's-complement value of the header's phys_base; prefer vmcoreinfo's. */
  readonly physBase?: number;
  readonly cpuCount?: number;
  /** KDUMP header version, ELF EI_CLASS and the like, for `info`. */
  readonly version?: number;
  readonly passes?: readonly PassState[];
}

/** How many pages of which kind; see `cli.md`, `info`. */
export interface PageCounts {
  /** Pages that existed: bitmap 1, or pages with bytes in an ELF file. */
  readonly present: number;
  /** Pages whose contents the dump gives, zero pages included. */
  readonly stored: number;
  /** Of these, known to be zero without reading. */
  readonly zero: number;
  /** Stored pages by codec name; zero pages that share one stored page are not counted here. */
  readonly byCodec: Readonly<Record<string, number>>;
}

/** The bytes of a page as the file stores them. */
export interface StoredPage {
  /** KDUMP flag of the codec, 0 = raw. */
  readonly flags: number;
  /** Length of the stored bytes, 1..pageSize; 0 for a page known to be zero. */
  readonly length: number;
  /** CRC-32 of the page before compression, where the format keeps one. */
  readonly checksum?: number;
}

/**
 * An open dump.
 *
 * To add one: fill the facts, map a pfn to its presence and its bytes, and walk what is there in ascending order. Memory
 * stays bounded whatever `maxMapnr` says: tables are read in windows. Opening reads headers only; damage further in
 * surfaces when it is touched, as a `FormatError` for the page, never as wrong bytes.
 */
export interface Vmcore {
  readonly name: string;
  readonly format: FormatName;
  readonly state: 'complete' | 'partial';
  /** Why it is partial, one sentence, where it is. */
  readonly partialReason?: string | undefined;
  readonly arch: ArchName;
  readonly littleEndian: boolean;
  readonly wordSize: 4 | 8;
  /** Bytes: a power of two from 4096 to 65536. */
  readonly pageSize: number;
  /** First pfn past the end of memory. */
  readonly maxMapnr: number;
  readonly header: VmcoreHeader;
  readonly notes: readonly Note[];
  /** The text of the VMCOREINFO note, unparsed. */
  readonly vmcoreinfo: Uint8Array | undefined;
  /** Virtual mappings of the segment table; empty where the format has none. */
  readonly segments: readonly VirtualSegment[];
  presence(pfn: Pfn): PagePresence;
  /**
   * Fills `target` (pageSize bytes) with the page.
   * @throws NoDataError `PAGE_EXCLUDED`, `PAGE_HOLE` or `PAGE_ABSENT`; FormatError where the stored bytes are damaged.
   */
  readPage(pfn: Pfn, target: Uint8Array): void;
  /**
   * Copies the page's bytes as stored into `target` (pageSize bytes or more), for writers that pass them on.
   * @throws as {@link readPage}, except that damage inside compressed bytes is not seen.
   */
  readStored(pfn: Pfn, target: Uint8Array): StoredPage;
  /** Everything that is not absent from `start` on, ascending, neighbours of one presence merged as far as is cheap. */
  walkPages(start?: Pfn): Iterable<PageRun>;
  /** O(pages): reads the whole page table once. */
  countPages(): PageCounts;
}
