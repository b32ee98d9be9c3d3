/** x86-64 page tables: from an address to its page, and table by table. */

import type { Paddr, Vaddr } from '../../base/address.ts';
import { AssertionError, NoDataError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { PhysicalMemory } from '../memory.ts';
import type { TablePage } from './arch.ts';

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

const ENTRIES = 512;
const ENTRY_BYTES = 8;
const TABLE_BYTES = 4096;

/** A page as the tables map it. */
export interface Leaf {
  readonly vaddr: Vaddr;
  readonly paddr: Paddr;
  /** 4 KiB, 2 MiB or 1 GiB. */
  readonly size: number;
}

/** The tables of one machine, from any root. */
export class X86PageTables {
  readonly #physical: PhysicalMemory;
  readonly #levels: 4 | 5;
  readonly #addressMask: bigint;
  readonly #entry = new Uint8Array(ENTRY_BYTES);
  readonly #entryView = new DataView(this.#entry.buffer);

  /** @param smeMask AMD's memory encryption marks pages by this address bit, which is no part of the address. */
  constructor(physical: PhysicalMemory, levels: 4 | 5, smeMask: bigint) {
    this.#physical = physical;
    this.#levels = levels;
    this.#addressMask = PTE.address & ~smeMask;
  }

  /**
   * Descends from the top level to a leaf: at most five steps, whatever the tables say.
   * @throws NoDataError `NOT_MAPPED`, or what reading a table threw.
   */
  walk(root: Paddr, vaddr: Vaddr): Leaf {
    const signBits = BigInt.asIntN(64, vaddr) >> (this.#levels === 5 ? 56n : 47n);
    if (signBits !== 0n && signBits !== -1n)
      throw new NoDataError('NOT_MAPPED', `not mapped: ${hex(vaddr)} is not canonical`, { vaddr });
    let table = root;
    for (let level = this.#levels - 1; level >= 0; level--) {
      const { shift } = LEVELS[level] as (typeof LEVELS)[number];
      const entryAt = table + Number((vaddr >> shift) & 511n) * ENTRY_BYTES;
      const entry = this.#readEntry(entryAt, vaddr, level);
      const kind = kindOf(entry, level);
      if (kind === 'none')
        throw new NoDataError(
          'NOT_MAPPED',
          `not mapped: the ${this.#nameOf(level)} entry at paddr ${hex(entryAt)} is ${hex(entry)}`,
          { vaddr, entry, entryAt },
        );
      if (kind === 'leaf') return this.#leafOf(entry, vaddr, level);
      table = this.#addressOf(entry);
    }
    throw new AssertionError('ASSERTION', `walk of ${hex(vaddr)} ended without a leaf`, { vaddr });
  }

  /** See {@link AddressSpace.walkTables}; stops when `budget` tables were read. */
  *walkTables(
    root: Paddr,
    start: Vaddr,
    end: Vaddr,
    budget: { tables: number },
  ): Generator<TablePage, void, undefined> {
    yield* this.#walkTable(root, this.#levels - 1, 0n, { start, end, budget });
  }

  /** Recursion is as deep as there are levels. */
  *#walkTable(
    table: Paddr,
    level: number,
    base: bigint,
    bounds: { readonly start: bigint; readonly end: bigint; readonly budget: { tables: number } },
  ): Generator<TablePage, void, undefined> {
    if (bounds.budget.tables-- <= 0) return;
    const entries = new DataView(new ArrayBuffer(TABLE_BYTES));
    try {
      this.#physical.readPhysical(new Uint8Array(entries.buffer), table);
    } catch (error) {
      // A table that is not there maps nothing that anyone could read.
      if (error instanceof NoDataError) return;
      throw error;
    }
    const { shift } = LEVELS[level] as (typeof LEVELS)[number];
    const covered = { first: this.#slot(bounds.start, base, level), last: this.#slot(bounds.end - 1n, base, level) };
    const slots: number[] = [];
    let firstLeaf: Leaf | undefined;
    for (let slot = covered.first; slot <= covered.last; slot++) {
      if (entries.getUint32(slot * ENTRY_BYTES, true) === 0) continue;
      const entry = entries.getBigUint64(slot * ENTRY_BYTES, true);
      const kind = kindOf(entry, level);
      if (kind === 'leaf') {
        firstLeaf ??= this.#leafOf(entry, this.#addressAt(base, slot, shift, level), level);
        if (level === 0) break;
      }
      if (kind === 'table') slots.push(slot);
    }
    yield { level, paddr: table, vaddr: this.#addressAt(base, covered.first, shift, level), firstLeaf };
    for (const slot of slots) {
      const entry = entries.getBigUint64(slot * ENTRY_BYTES, true);
      yield* this.#walkTable(this.#addressOf(entry), level - 1, this.#addressAt(base, slot, shift, level), bounds);
    }
  }

  /** The slot of `vaddr` in a table whose first address is `base`, cut to the table. */
  #slot(vaddr: bigint, base: bigint, level: number): number {
    const { shift } = LEVELS[level] as (typeof LEVELS)[number];
    if (level === this.#levels - 1) return Number((vaddr >> shift) & 511n);
    const slot = (vaddr - base) >> shift;
    return slot < 0n ? 0 : slot >= ENTRIES ? ENTRIES - 1 : Number(slot);
  }

  /** Address that a slot maps; the top level extends the sign. */
  #addressAt(base: bigint, slot: number, shift: bigint, level: number): bigint {
    const address = base + (BigInt(slot) << shift);
    return level === this.#levels - 1 ? BigInt.asUintN(64, BigInt.asIntN(Number(shift) + 9, address)) : address;
  }

  #leafOf(entry: bigint, vaddr: bigint, level: number): Leaf {
    const size = 1n << (LEVELS[level] as (typeof LEVELS)[number]).shift;
    const paddr = BigInt(this.#addressOf(entry)) & ~(size - 1n);
    return { vaddr: vaddr & ~(size - 1n), paddr: Number(paddr), size: Number(size) };
  }

  /**
   * Since 4.19 (6b28baca9b1f, for L1TF; backported) a PROT_NONE entry stores its address inverted. Older kernels store it
   * plainly, and no machine has memory at 2^51: the top bit tells the two apart.
   */
  #addressOf(entry: bigint): Paddr {
    const inverted = (entry & PTE.present) === 0n && (entry & PTE.addressTop) !== 0n;
    return Number((inverted ? ~entry : entry) & this.#addressMask);
  }

  #readEntry(entryAt: number, vaddr: bigint, level: number): bigint {
    try {
      this.#physical.readPhysical(this.#entry, entryAt);
    } catch (error) {
      throw withContext(error, `reading the ${this.#nameOf(level)} of vaddr ${hex(vaddr)} at paddr ${hex(entryAt)}`);
    }
    return this.#entryView.getBigUint64(0, true);
  }

  /** With 4 levels the kernel folds the P4D into the PGD. */
  #nameOf(level: number): string {
    return level === this.#levels - 1 ? 'PGD' : (LEVELS[level] as (typeof LEVELS)[number]).name;
  }
}

/** A huge entry that is being split is neither present nor PROT_NONE, yet PSE says that the page is there. */
function kindOf(entry: bigint, level: number): 'none' | 'leaf' | 'table' {
  const isThere = (entry & (PTE.present | PTE.protNone)) !== 0n;
  if (level === 0) return isThere ? 'leaf' : 'none';
  if (LEVELS[level]?.mayBeLeaf && (entry & PTE.pse) !== 0n) return 'leaf';
  return isThere ? 'table' : 'none';
}
