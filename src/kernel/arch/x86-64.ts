/** x86-64: page tables of 4 and 5 levels, and where the kernel's image lies. */

import type { Paddr, Vaddr } from '../../base/address.ts';
import { AssertionError, NoDataError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { VirtualSegment } from '../../format/vmcore.ts';
import type { Mapping, PhysicalMemory } from '../memory.ts';
import type { Vmcoreinfo } from '../vmcoreinfo.ts';
import type { AddressSpace, AddressSpaceFacts, Arch } from './arch.ts';

/**
 * Bits of a page-table entry.
 * Source: Intel SDM volume 3A, 4.5; Linux `arch/x86/include/asm/pgtable_types.h`.
 */
const PTE = {
  present: 1n << 0n,
  /** Leaf at PMD (2 MiB) and PUD (1 GiB); PAT at the last level, reserved above. */
  pse: 1n << 7n,
  /** In an entry that is not present: PROT_NONE, the page is there all the same. */
  protNone: 1n << 8n,
  /** Physical address, bits 51:12. */
  address: 0x000f_ffff_ffff_f000n,
  /** Highest bit of the physical address: set in a PROT_NONE entry, it shows that the address is stored inverted. */
  addressTop: 1n << 51n,
} as const;

/** Bits of the address below each level, last level first, with the name the kernel gives the level. */
const LEVELS = [
  { shift: 12n, name: 'PTE', mayBeLeaf: true },
  { shift: 21n, name: 'PMD', mayBeLeaf: true },
  { shift: 30n, name: 'PUD', mayBeLeaf: true },
  { shift: 39n, name: 'P4D', mayBeLeaf: false },
  { shift: 48n, name: 'PGD', mayBeLeaf: false },
] as const;

/** `__START_KERNEL_map`: where the image is linked, whatever KASLR does. Source: `arch/x86/include/asm/page_64_types.h`. */
const START_KERNEL_MAP = 0xffff_ffff_8000_0000n;
/** `KERNEL_IMAGE_SIZE` with KASLR; vmcoreinfo tells since 5.0. */
const KERNEL_IMAGE_SIZE_DEFAULT = 1n << 30n;
/** Lowest address of the kernel's half with 5 levels. */
const KERNEL_HALF = 0xff00_0000_0000_0000n;
/** Translations that are remembered. */
const CACHE_ENTRIES = 4096;
const MASK64 = (1n << 64n) - 1n;

/** The architecture, as `arch/table.ts` lists it. */
export const x86_64: Arch = { name: 'x86_64', openAddressSpace: (facts) => new X86AddressSpace(facts) };

/** One leaf of the page tables. */
interface Leaf {
  readonly vaddr: bigint;
  readonly paddr: number;
  readonly size: number;
}

/**
 * Kernel addresses go through the page tables, which alone know what is mapped. Where a table is not in the dump, the linear
 * maps step in: the image by arithmetic, between symbols that are known to lie in it, and the segments of an ELF core.
 */
class X86AddressSpace implements AddressSpace {
  readonly kernelRoot: Paddr | undefined;
  readonly physBase: number | undefined;
  readonly #physical: PhysicalMemory;
  readonly #levels: 4 | 5;
  readonly #addressMask: bigint;
  readonly #image: { readonly start: bigint; readonly end: bigint } | undefined;
  readonly #segments: readonly VirtualSegment[];
  readonly #cache = new Map<bigint, Leaf>();
  readonly #entry = new Uint8Array(8);
  readonly #entryView = new DataView(this.#entry.buffer);

  constructor(facts: AddressSpaceFacts) {
    const { vmcoreinfo } = facts;
    this.#physical = facts.physical;
    this.#levels = vmcoreinfo.number('pgtable_l5_enabled') === 1n ? 5 : 4;
    // AMD memory encryption marks pages by an address bit, which is no part of the address.
    this.#addressMask = PTE.address & ~(vmcoreinfo.number('sme_mask') ?? 0n);
    this.#segments = (facts.segments ?? []).filter((segment) => segment.vaddr >= KERNEL_HALF && segment.size > 0);
    this.#image = findImageRange(vmcoreinfo);
    this.physBase = findPhysBase(vmcoreinfo, facts.headerPhysBase, this.#segments);
    this.kernelRoot = this.#findRoot(vmcoreinfo);
  }

  translate(vaddr: Vaddr): Mapping {
    const address = BigInt.asUintN(64, vaddr);
    const cached = this.#cache.get(address >> 12n);
    if (cached) return mappingIn(cached, address);
    let leaf: Leaf;
    try {
      if (this.kernelRoot === undefined)
        throw new NoDataError('NOT_MAPPED', `not mapped: vmcoreinfo names no page tables to look up ${hex(address)}`);
      leaf = this.#walk(this.kernelRoot, address);
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
    return mappingIn(this.#walk(root, address), address);
  }

  /** Descends from the top level to a leaf: at most five steps, whatever the tables say. */
  #walk(root: Paddr, vaddr: bigint): Leaf {
    const signBits = BigInt.asIntN(64, vaddr) >> (this.#levels === 5 ? 56n : 47n);
    if (signBits !== 0n && signBits !== -1n)
      throw new NoDataError('NOT_MAPPED', `not mapped: ${hex(vaddr)} is not canonical`, { vaddr });
    let table = root;
    for (let level = this.#levels - 1; level >= 0; level--) {
      const { shift, mayBeLeaf } = LEVELS[level] as (typeof LEVELS)[number];
      // With 4 levels the kernel folds the P4D into the PGD.
      const name = level === this.#levels - 1 ? 'PGD' : LEVELS[level]?.name;
      const entryAt = table + Number((vaddr >> shift) & 511n) * 8;
      const entry = this.#readEntry(entryAt, vaddr, name);
      const isLeaf = level === 0 || (mayBeLeaf && (entry & PTE.pse) !== 0n);
      // A huge entry that is being split has neither bit, yet PSE says that the page is there.
      if ((entry & (PTE.present | PTE.protNone)) === 0n && !(isLeaf && level > 0))
        throw new NoDataError('NOT_MAPPED', `not mapped: the ${name} entry at paddr ${hex(entryAt)} is ${hex(entry)}`, {
          vaddr,
          entry,
          entryAt,
          level: name,
        });
      const address = this.#addressOf(entry);
      if (isLeaf) {
        const size = 1n << shift;
        return { vaddr: vaddr & ~(size - 1n), paddr: Number(address & ~(size - 1n)), size: Number(size) };
      }
      table = Number(address);
    }
    throw new AssertionError('ASSERTION', `walk of ${hex(vaddr)} ended without a leaf`, { vaddr });
  }

  #readEntry(entryAt: number, vaddr: bigint, level = ''): bigint {
    try {
      this.#physical.readPhysical(this.#entry, entryAt);
    } catch (error) {
      throw withContext(error, `reading the ${level} of vaddr ${hex(vaddr)} at paddr ${hex(entryAt)}`);
    }
    return this.#entryView.getBigUint64(0, true);
  }

  /**
   * Since 4.19 (6b28baca9b1f, for L1TF; backported) a PROT_NONE entry stores its address inverted. Older kernels store it
   * plainly, and no machine has memory at 2^51: the top bit tells the two apart.
   */
  #addressOf(entry: bigint): bigint {
    const inverted = (entry & PTE.present) === 0n && (entry & PTE.addressTop) !== 0n;
    return (inverted ? ~entry : entry) & this.#addressMask;
  }

  #linear(vaddr: bigint): Mapping | undefined {
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
function findImageRange(vmcoreinfo: Vmcoreinfo): { start: bigint; end: bigint } | undefined {
  const size = vmcoreinfo.number('KERNEL_IMAGE_SIZE') ?? KERNEL_IMAGE_SIZE_DEFAULT;
  const windowEnd = BigInt.asUintN(64, START_KERNEL_MAP + size) || MASK64;
  let start: bigint | undefined;
  let end = 0n;
  for (const [key] of vmcoreinfo.entries()) {
    if (!key.startsWith('SYMBOL(')) continue;
    const address = vmcoreinfo.symbol(key.slice('SYMBOL('.length, -1));
    if (address === undefined || address < START_KERNEL_MAP || address >= windowEnd) continue;
    if (start === undefined || address < start) start = address;
    if (address > end) end = address;
  }
  return start === undefined ? undefined : { start: start & ~4095n, end: (end | 4095n) + 1n };
}
