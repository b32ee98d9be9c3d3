/**
 * Tiny kernels from a few lines: physical memory, page tables, a printk ring, vmcoreinfo. Written from the kernel's
 * definitions and independent of the code under test.
 */

import { NoDataError } from '../../src/base/errors.ts';
import { PagedMemory } from '../../src/kernel/memory.ts';
import type { KernelFacts } from '../../src/kernel/open.ts';

export const START_KERNEL_MAP = 0xffffffff80000000n;
const PAGE = 4096;
const SIZES = { '4K': 12n, '2M': 21n, '1G': 30n } as const;

/** Entry bits. */
export const PRESENT = 1n;
export const PSE = 1n << 7n;
export const PROT_NONE = 1n << 8n;

export interface KernelBuilderOptions {
  readonly levels?: 4 | 5;
  /** Default: 16 MiB. */
  readonly physBase?: number;
  /** Address bit set in every entry. */
  readonly smeMask?: bigint;
}

/** A record for {@link KernelBuilder.ring}. */
export interface BuiltRecord {
  readonly text: string | Uint8Array;
  readonly tsNs?: bigint;
  readonly level?: number;
  readonly facility?: number;
  readonly callerId?: number;
  /** Default: finalized. */
  readonly state?: 'reserved' | 'committed' | 'finalized' | 'reusable';
  readonly flags?: number;
  /** Logical positions in place of a text block. */
  readonly lpos?: readonly [begin: bigint, next: bigint];
  readonly subsystem?: string;
  readonly device?: string;
}

const STATES = { reserved: 0n, committed: 1n, finalized: 2n, reusable: 3n } as const;

/** Where a ring was put. */
export interface BuiltRing {
  readonly prb: bigint;
  readonly ring: bigint;
  readonly descs: bigint;
  readonly infos: bigint;
  readonly data: bigint;
}

export interface RingOptions {
  readonly countBits?: number;
  readonly sizeBits?: number;
  /** Sequence number, and first logical position, from which the ring begins. */
  readonly firstSeq?: number;
  readonly firstLpos?: bigint;
  /** Since 6.19 a block may end exactly at the ring's end. */
  readonly mayEndAtRingEnd?: boolean;
}

/** Offsets as kernels 5.10 to 6.12 have them. */
const INFO = { size: 88, seq: 0, ts: 8, textLen: 16, facility: 18, flags: 19, caller: 20, dev: 24 } as const;

/** A machine under construction. Addresses are handed out upwards from the image's start. */
export class KernelBuilder {
  readonly levels: 4 | 5;
  readonly physBase: number;
  readonly root: number;
  readonly lines: string[] = [];
  readonly #smeMask: bigint;
  readonly #pages = new Map<number, Uint8Array>();
  /** Pfns that are there no more, and the code with which a read of them fails. */
  readonly #lost = new Map<number, string>();
  #nextImage = 0x1000000;
  #nextTable = 0x40000000;

  constructor(options: KernelBuilderOptions = {}) {
    this.levels = options.levels ?? 4;
    this.physBase = options.physBase ?? 0x1000000;
    this.#smeMask = options.smeMask ?? 0n;
    const pgd = this.image(PAGE, PAGE);
    this.root = pgd.paddr;
    for (let i = 0; i < 4; i++)
      this.map(START_KERNEL_MAP + 0x1000000n + BigInt(i << 21), this.imagePaddr(0x1000000 + (i << 21)), '2M');
    this.lines.push('OSRELEASE=6.1.0-test', 'PAGESIZE=4096');
    this.lines.push(`SYMBOL(swapper_pg_dir)=${pgd.vaddr.toString(16)}`);
    this.lines.push(`NUMBER(phys_base)=${this.physBase}`, `NUMBER(pgtable_l5_enabled)=${this.levels === 5 ? 1 : 0}`);
    if (this.#smeMask) this.lines.push(`NUMBER(sme_mask)=${this.#smeMask}`);
  }

  /** Space in the kernel's image: mapped, zeroed. */
  image(length: number, align = 8): { vaddr: bigint; paddr: number } {
    const offset = Math.ceil(this.#nextImage / align) * align;
    this.#nextImage = offset + length;
    const paddr = this.imagePaddr(offset);
    this.write(paddr, new Uint8Array(length));
    return { vaddr: START_KERNEL_MAP + BigInt(offset), paddr };
  }

  imagePaddr(offset: number): number {
    return offset + this.physBase;
  }

  write(paddr: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      const pfn = Math.floor((paddr + i) / PAGE);
      const page = this.#pages.get(pfn) ?? new Uint8Array(PAGE);
      this.#pages.set(pfn, page);
      page[(paddr + i) % PAGE] = byte;
    });
  }

  u32(paddr: number, value: number): void {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    this.write(paddr, bytes);
  }

  u64(paddr: number, value: bigint): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
    this.write(paddr, bytes);
  }

  /** Maps one page of that size; `flags` replaces present (and PSE where it is large). */
  map(vaddr: bigint, paddr: number, size: keyof typeof SIZES = '4K', flags?: bigint): void {
    const leafShift = SIZES[size];
    let table = this.root;
    for (let shift = this.levels === 5 ? 48n : 39n; ; shift -= 9n) {
      const at = table + Number((vaddr >> shift) & 511n) * 8;
      if (shift === leafShift) {
        this.u64(at, BigInt(paddr) | this.#smeMask | (flags ?? (leafShift === 12n ? PRESENT : PRESENT | PSE)));
        return;
      }
      let entry = this.#readU64(at);
      if (entry === 0n) {
        entry = BigInt(this.#nextTable) | PRESENT | this.#smeMask;
        this.write(this.#nextTable, new Uint8Array(PAGE));
        this.#nextTable += PAGE;
        this.u64(at, entry);
      }
      table = Number(entry & ~this.#smeMask & 0xffffffffff000n);
    }
  }

  /** Puts raw bits where {@link map} would put the last-level entry. */
  mapRaw(vaddr: bigint, entry: bigint, size: keyof typeof SIZES = '4K'): void {
    this.map(vaddr, 0, size, entry);
  }

  /** Pages of tables, in the order in which they were made. */
  tablePfns(): number[] {
    return [...this.#pages.keys()].filter((pfn) => pfn >= 0x40000 && pfn * PAGE < this.#nextTable);
  }

  /** Takes a page away: reads of it fail with `code`. */
  lose(pfn: number, code = 'PAGE_EXCLUDED'): void {
    this.#lost.set(pfn, code);
  }

  isLost(pfn: number): boolean {
    return this.#lost.has(pfn);
  }

  uts(release = '6.1.0-test', offset = 0): void {
    const { vaddr, paddr } = this.image(512);
    ['Linux', 'node', release, '#1 SMP', 'x86_64', '(none)'].forEach((text, i) => {
      this.write(paddr + offset + 65 * i, Buffer.from(text, 'latin1'));
    });
    this.lines.push(`SYMBOL(init_uts_ns)=${vaddr.toString(16)}`);
  }

  /** A printk ring with `records`, the last ones where not all fit, and vmcoreinfo's lines about it. */
  ring(records: readonly BuiltRecord[], options: RingOptions = {}): BuiltRing {
    const { countBits = 5, sizeBits = 10, firstSeq = 0, firstLpos = 0n } = options;
    const count = 1 << countBits;
    const size = 1 << sizeBits;
    const prb = this.image(8);
    const ring = this.image(88);
    const descs = this.image(count * 24);
    const infos = this.image(count * INFO.size);
    const data = this.image(size, 64);
    for (let i = 0; i < count; i++) this.u64(descs.paddr + 24 * i, (STATES.reusable << 62n) | BigInt(i));
    let lpos = firstLpos;
    let tail = firstSeq;
    const ends: { seq: number; begin: bigint }[] = [];
    records.forEach((record, i) => {
      const seq = firstSeq + i;
      const id = BigInt(seq);
      const slot = seq % count;
      const text = typeof record.text === 'string' ? Buffer.from(record.text, 'utf8') : record.text;
      let [begin, next] = record.lpos ?? [lpos, lpos];
      if (!record.lpos) {
        const block = BigInt(Math.ceil((8 + text.length) / 8) * 8);
        const last = options.mayEndAtRingEnd ? begin + block - 1n : begin + block;
        const wraps = begin / BigInt(size) !== last / BigInt(size);
        next = wraps ? (begin / BigInt(size) + 1n) * BigInt(size) + block : begin + block;
        const at = data.paddr + (wraps ? 0 : Number(begin % BigInt(size)));
        this.u64(at, id);
        this.write(at + 8, text);
        ends.push({ seq, begin });
        lpos = next;
      }
      this.u64(descs.paddr + 24 * slot, (STATES[record.state ?? 'finalized'] << 62n) | id);
      this.u64(descs.paddr + 24 * slot + 8, begin);
      this.u64(descs.paddr + 24 * slot + 16, next);
      const info = infos.paddr + INFO.size * slot;
      this.write(info, new Uint8Array(INFO.size));
      this.u64(info + INFO.seq, id);
      this.u64(info + INFO.ts, record.tsNs ?? 0n);
      const packed = ((record.level ?? 6) << 5) | (record.flags ?? 2);
      this.write(info + INFO.textLen, Buffer.from([text.length & 255, text.length >> 8, record.facility ?? 0, packed]));
      this.u32(info + INFO.caller, record.callerId ?? 1);
      this.write(info + INFO.dev, Buffer.from(record.subsystem ?? ''));
      this.write(info + INFO.dev + 16, Buffer.from(record.device ?? ''));
      // The kernel pushes the tail before it overwrites: by descriptors, and by what lies in the text's way.
      tail = Math.max(tail, seq - count + 1);
      for (const end of ends) if (lpos - end.begin > BigInt(size)) tail = Math.max(tail, end.seq + 1);
    });
    this.u64(prb.paddr, ring.vaddr);
    this.u32(ring.paddr, countBits);
    this.u64(ring.paddr + 8, descs.vaddr);
    this.u64(ring.paddr + 16, infos.vaddr);
    this.u64(ring.paddr + 24, (STATES.finalized << 62n) | BigInt(firstSeq + records.length - 1));
    this.u64(ring.paddr + 32, BigInt(tail));
    this.u32(ring.paddr + 48, sizeBits);
    this.u64(ring.paddr + 56, data.vaddr);
    this.lines.push(`SYMBOL(prb)=${prb.vaddr.toString(16)}`, ...PRINTK_LINES);
    return { prb: prb.vaddr, ring: ring.vaddr, descs: descs.vaddr, infos: infos.vaddr, data: data.vaddr };
  }

  vmcoreinfo(): Uint8Array {
    return Buffer.from(`${this.lines.join('\n')}\n`, 'latin1');
  }

  readPage(pfn: number, target: Uint8Array): void {
    const code = this.#lost.get(pfn) ?? (this.#pages.has(pfn) ? undefined : 'PAGE_ABSENT');
    if (code !== undefined) throw new NoDataError(code, `pfn 0x${pfn.toString(16)} is not there`, { pfn });
    target.set(this.#pages.get(pfn) as Uint8Array);
  }

  facts(): KernelFacts {
    const readPage = (pfn: number, target: Uint8Array): void => this.readPage(pfn, target);
    return {
      arch: 'x86_64',
      physical: new PagedMemory({ pageSize: PAGE, readPage }),
      vmcoreinfo: this.vmcoreinfo(),
    };
  }

  /** Every page, for fuzzing. */
  pages(): ReadonlyMap<number, Uint8Array> {
    return this.#pages;
  }

  #readU64(paddr: number): bigint {
    const page = this.#pages.get(Math.floor(paddr / PAGE));
    return page ? Buffer.from(page.buffer).readBigUInt64LE(paddr % PAGE) : 0n;
  }
}

/** What `log_buf_vmcoreinfo_setup` of 5.10 to 6.12 writes, the symbols apart. */
export const PRINTK_LINES: readonly string[] = [
  'SIZE(printk_ringbuffer)=88',
  'OFFSET(printk_ringbuffer.desc_ring)=0',
  'OFFSET(printk_ringbuffer.text_data_ring)=48',
  'OFFSET(printk_ringbuffer.fail)=80',
  'SIZE(prb_desc_ring)=48',
  'OFFSET(prb_desc_ring.count_bits)=0',
  'OFFSET(prb_desc_ring.descs)=8',
  'OFFSET(prb_desc_ring.infos)=16',
  'OFFSET(prb_desc_ring.head_id)=24',
  'OFFSET(prb_desc_ring.tail_id)=32',
  'SIZE(prb_desc)=24',
  'OFFSET(prb_desc.state_var)=0',
  'OFFSET(prb_desc.text_blk_lpos)=8',
  'SIZE(prb_data_blk_lpos)=16',
  'OFFSET(prb_data_blk_lpos.begin)=0',
  'OFFSET(prb_data_blk_lpos.next)=8',
  'SIZE(printk_info)=88',
  'OFFSET(printk_info.seq)=0',
  'OFFSET(printk_info.ts_nsec)=8',
  'OFFSET(printk_info.text_len)=16',
  'OFFSET(printk_info.caller_id)=20',
  'OFFSET(printk_info.dev_info)=24',
  'SIZE(dev_printk_info)=64',
  'OFFSET(dev_printk_info.subsystem)=0',
  'LENGTH(printk_info_subsystem)=16',
  'OFFSET(dev_printk_info.device)=16',
  'LENGTH(printk_info_device)=48',
  'SIZE(prb_data_ring)=32',
  'OFFSET(prb_data_ring.size_bits)=0',
  'OFFSET(prb_data_ring.data)=8',
  'OFFSET(prb_data_ring.head_lpos)=16',
  'OFFSET(prb_data_ring.tail_lpos)=24',
  'SIZE(atomic_long_t)=8',
  'OFFSET(atomic_long_t.counter)=0',
];
