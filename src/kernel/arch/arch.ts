/** What the analyzer needs to know of a processor architecture. */

import type { Paddr, Vaddr } from '../../base/address.ts';
import type { ArchName, VirtualSegment } from '../../format/vmcore.ts';
import type { Mapping, PhysicalMemory } from '../memory.ts';
import type { Vmcoreinfo } from '../vmcoreinfo.ts';

/** What a dump says about its address space; everything but the memory may be missing. */
export interface AddressSpaceFacts {
  readonly physical: PhysicalMemory;
  readonly vmcoreinfo: Vmcoreinfo;
  /** phys_base of the file's header, used where vmcoreinfo has none. */
  readonly headerPhysBase?: number | undefined;
  /** Segments of the file; those outside the kernel's half are not believed (QEMU writes vaddr = paddr). */
  readonly segments?: readonly VirtualSegment[] | undefined;
}

/** One page of the page tables. */
export interface TablePage {
  /** 0 = the last level, whose entries are pages. */
  readonly level: number;
  readonly paddr: Paddr;
  /** First address that was asked for and that the table maps. */
  readonly vaddr: Vaddr;
  /** The first page that the table maps itself, at any level that can. */
  readonly firstLeaf: { readonly vaddr: Vaddr; readonly paddr: Paddr } | undefined;
}

/** Virtual addresses, half-open. */
export interface VirtualRange {
  readonly start: Vaddr;
  readonly end: Vaddr;
}

/** Translation of one dump's addresses. */
export interface AddressSpace {
  /** Physical address of the kernel's top page table, where it is known. */
  readonly kernelRoot: Paddr | undefined;
  /** Bytes between the image's link-time physical address and where it runs; may be negative. */
  readonly physBase: number | undefined;
  /** The kernel's half: everything below the image, where the linear map of all memory comes first, and the image's window. */
  readonly regions: { readonly lower: VirtualRange; readonly image: VirtualRange };
  /**
   * A kernel address. O(levels) reads, most of them cached.
   * @throws NoDataError `NOT_MAPPED` where the page tables have no mapping; what reading a table threw, where that is not
   * there and neither image nor segments tell.
   */
  translate(vaddr: Vaddr): Mapping;
  /**
   * Any address through the page tables at `root`, such as a process's.
   * @throws as {@link translate}.
   */
  walk(root: Paddr, vaddr: Vaddr): Mapping;
  /**
   * The kernel's tables that map addresses from `start` to `end`, each before those below it, ascending by address. Tables
   * that are not there are passed over; at most `tablesMax` are read.
   */
  walkTables(start: Vaddr, end: Vaddr, tablesMax: number): Generator<TablePage, void, undefined>;
}

/**
 * An architecture.
 *
 * To add one: translate as the kernel's own page tables do, by vmcoreinfo alone; bound every walk by the number of levels;
 * decide by what the dump says, never by version numbers; enter it in `arch/table.ts`.
 */
export interface Arch {
  readonly name: ArchName;
  openAddressSpace(facts: AddressSpaceFacts): AddressSpace;
}
