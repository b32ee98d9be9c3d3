/** x86-64: the kernel's addresses, by its page tables, and where a table is missing by its linear maps. */

import type { Paddr, Vaddr } from '../../base/address.ts';
import { NoDataError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { VirtualSegment } from '../../format/vmcore.ts';
import type { Mapping } from '../memory.ts';
import type { Vmcoreinfo } from '../vmcoreinfo.ts';
import type { AddressSpace, AddressSpaceFacts, Arch, TablePage, VirtualRange } from './arch.ts';
import { type Leaf, X86PageTables } from './x86-64-tables.ts';

/** `__START_KERNEL_map`: where the image is linked, whatever KASLR does. Source: `arch/x86/include/asm/page_64_types.h`. */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** `KERNEL_IMAGE_SIZE` with KASLR; vmcoreinfo tells since 5.0. */
const KERNEL_IMAGE_SIZE_DEFAULT = 1n << 30n;
/** Lowest address of the kernel's half with 5 levels. */
const KERNEL_HALF = 0xff00_0000_0000_0000n;
const KERNEL_HALF_4 = 0xffff_8000_0000_0000n;
/** Translations that are remembered. */
const CACHE_ENTRIES = 4096;
const MASK64 = (1n << 64n) - 1n;

/** The architecture, as `arch/table.ts` lists it. */
export const x86_64: Arch = { name: 'x86_64', openAddressSpace: (facts) => new X86AddressSpace(facts) };

/**
 * Kernel addresses go through the page tables, which alone know what is mapped. Where a table is not in the dump, the linear
 * maps step in: the image by arithmetic, between symbols that are known to lie in it, and the segments of an ELF core.
 */
class X86AddressSpace implements AddressSpace {
  readonly kernelRoot: Paddr | undefined;
  readonly physBase: number | undefined;
  readonly regions: AddressSpace['regions'];
  readonly #tables: X86PageTables;
  readonly #vmcoreinfo: Vmcoreinfo;
  #image: VirtualRange | undefined;
  readonly #segments: readonly VirtualSegment[];
  readonly #cache = new Map<bigint, Leaf>();

  constructor(facts: AddressSpaceFacts) {
    const { vmcoreinfo } = facts;
    const levels = vmcoreinfo.number('pgtable_l5_enabled') === 1n ? 5 : 4;
    this.#tables = new X86PageTables(facts.physical, levels, vmcoreinfo.number('sme_mask') ?? 0n);
    this.#segments = (facts.segments ?? []).filter((segment) => segment.vaddr >= KERNEL_HALF && segment.size > 0);
    this.#vmcoreinfo = vmcoreinfo;
    this.physBase = findPhysBase(vmcoreinfo, facts.headerPhysBase, this.#segments);
    this.kernelRoot = this.#findRoot(vmcoreinfo);
    const imageSize = vmcoreinfo.number('KERNEL_IMAGE_SIZE') ?? KERNEL_IMAGE_SIZE_DEFAULT;
    this.regions = {
      lower: { start: levels === 5 ? KERNEL_HALF : KERNEL_HALF_4, end: START_KERNEL_MAP },
      image: { start: START_KERNEL_MAP, end: BigInt.asUintN(64, START_KERNEL_MAP + imageSize) || MASK64 },
    };
  }

  translate(vaddr: Vaddr): Mapping {
    const address = BigInt.asUintN(64, vaddr);
    const cached = this.#cache.get(address >> 12n);
    if (cached) return mappingIn(cached, address);
    let leaf: Leaf;
    try {
      if (this.kernelRoot === undefined)
        throw new NoDataError('NOT_MAPPED', `not mapped: vmcoreinfo names no page tables to look up ${hex(address)}`);
      leaf = this.#tables.walk(this.kernelRoot, address);
    } catch (error) {
      if (!(error instanceof NoDataError) || (error.code === 'NOT_MAPPED' && this.kernelRoot !== undefined))
        throw error;
      const linear = this.#linear(address);
      if (!linear) throw error;
      return linear;
    }
    if (this.#cache.size >= CACHE_ENTRIES) this.#cache.clear();
    this.#cache.set(address >> 12n, leaf);
    return mappingIn(leaf, address);
  }

  walk(root: Paddr, vaddr: Vaddr): Mapping {
    const address = BigInt.asUintN(64, vaddr);
    return mappingIn(this.#tables.walk(root, address), address);
  }

  *walkTables(start: Vaddr, end: Vaddr, tablesMax: number): Generator<TablePage, void, undefined> {
    if (this.kernelRoot === undefined) return;
    yield* this.#tables.walkTables(this.kernelRoot, start, end, { tables: tablesMax });
  }

  #linear(vaddr: bigint): Mapping | undefined {
    this.#image ??= findImageRange(this.#vmcoreinfo, this.regions.image);
    if (this.#image && this.physBase !== undefined && vaddr >= this.#image.start && vaddr < this.#image.end) {
      const paddr = Number(vaddr - START_KERNEL_MAP) + this.physBase;
      if (paddr >= 0) return { paddr, length: Number(this.#image.end - vaddr) };
    }
    for (const segment of this.#segments) {
      const offset = vaddr - segment.vaddr;
      if (offset < 0n || offset >= BigInt(segment.size)) continue;
      return { paddr: segment.paddr + Number(offset), length: segment.size - Number(offset) };
    }
    return undefined;
  }

  /** The image is mapped linearly, so the root needs no page tables. Until 4.12 it was called init_level4_pgt. */
  #findRoot(vmcoreinfo: Vmcoreinfo): Paddr | undefined {
    const root =
      vmcoreinfo.symbol('swapper_pg_dir') ?? vmcoreinfo.symbol('init_top_pgt') ?? vmcoreinfo.symbol('init_level4_pgt');
    if (root === undefined || root < START_KERNEL_MAP || this.physBase === undefined) return undefined;
    const paddr = Number(root - START_KERNEL_MAP) + this.physBase;
    return paddr >= 0 && paddr % 4096 === 0 ? paddr : undefined;
  }
}

function mappingIn(leaf: Leaf, vaddr: bigint): Mapping {
  const offset = Number(vaddr - leaf.vaddr);
  return { paddr: leaf.paddr + offset, length: leaf.size - offset };
}

/**
 * vmcoreinfo's phys_base before the header's: makedumpfile 1.7 leaves the header's at zero when it refilters a device, and
 * QEMU writes none. Then the segment that maps the image, whose two addresses differ by it.
 */
function findPhysBase(
  vmcoreinfo: Vmcoreinfo,
  headerPhysBase: number | undefined,
  segments: readonly VirtualSegment[],
): number | undefined {
  const told = vmcoreinfo.number('phys_base');
  if (told !== undefined) {
    const signed = BigInt.asIntN(64, told);
    return signed > -(2n ** 52n) && signed < 2n ** 52n ? Number(signed) : undefined;
  }
  if (headerPhysBase !== undefined) return headerPhysBase;
  const text = segments.find((segment) => segment.vaddr >= START_KERNEL_MAP);
  return text && text.paddr - Number(text.vaddr - START_KERNEL_MAP);
}

/** Pages that certainly belong to the image: from the lowest to the highest symbol that vmcoreinfo places in it. */
function findImageRange(vmcoreinfo: Vmcoreinfo, window: VirtualRange): VirtualRange | undefined {
  let start: bigint | undefined;
  let end = 0n;
  for (const [key] of vmcoreinfo.entries()) {
    if (!key.startsWith('SYMBOL(')) continue;
    const address = vmcoreinfo.symbol(key.slice('SYMBOL('.length, -1));
    if (address === undefined || address < window.start || address >= window.end) continue;
    if (start === undefined || address < start) start = address;
    if (address > end) end = address;
  }
  return start === undefined ? undefined : { start: start & ~4095n, end: (end | 4095n) + 1n };
}
