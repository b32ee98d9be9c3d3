/** Memory of a kernel under analysis: physical by page, virtual by translation; what is missing says why. */

import type { Paddr, Pfn, Vaddr } from '../base/address.ts';
import { NoDataError, withContext } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { findRange, type Range } from '../base/ranges.ts';

/** Physical memory, whatever holds it. */
export interface PhysicalMemory {
  /** Bytes: a power of two from 4096 to 65536. */
  readonly pageSize: number;
  /**
   * Fills `target` from `paddr` on.
   * @throws NoDataError where any byte is not there: code `PAGE_EXCLUDED`, `PAGE_HOLE` or `PAGE_ABSENT`.
   */
  readPhysical(target: Uint8Array, paddr: Paddr): void;
}

/** A stretch of virtual addresses that lies in one piece of physical memory. */
export interface Mapping {
  readonly paddr: Paddr;
  /** Bytes from the translated address to the end of the piece; at least 1. */
  readonly length: number;
}

/** Virtual memory of the kernel. */
export interface VirtualMemory {
  /**
   * Fills `target` from `vaddr` on.
   * @throws NoDataError where any byte is not there; code `NOT_MAPPED` where the kernel has no mapping.
   */
  readVirtual(target: Uint8Array, vaddr: Vaddr): void;
  /** @throws NoDataError `NOT_MAPPED`, or what reading the page tables threw. */
  translate(vaddr: Vaddr): Mapping;
}

/** What {@link PagedMemory} needs of a dump; every `Vmcore` is one. */
export interface PageSource {
  readonly pageSize: number;
  /** Fills `target` (pageSize bytes) with a page, or throws. */
  readPage(pfn: Pfn, target: Uint8Array): void;
}

/** Bytes that the page cache may hold. */
const CACHE_BYTES = 2 ** 20;

/**
 * {@link PhysicalMemory} over pages, with a cache of 1 MiB: walks of kernel structures return to the same pages again and
 * again, and a compressed page costs 20 µs. The oldest page makes room for a new one.
 */
export class PagedMemory implements PhysicalMemory {
  readonly pageSize: number;
  readonly #source: PageSource;
  readonly #slots: Uint8Array[];
  readonly #pfns: number[];
  readonly #slotByPfn = new Map<number, number>();
  #next = 0;

  constructor(source: PageSource) {
    this.#source = source;
    this.pageSize = source.pageSize;
    const count = CACHE_BYTES / source.pageSize;
    this.#slots = [];
    this.#pfns = new Array<number>(count).fill(-1);
  }

  readPhysical(target: Uint8Array, paddr: Paddr): void {
    const { pageSize } = this;
    for (let done = 0; done < target.length; ) {
      const at = paddr + done;
      const inPage = at % pageSize;
      const length = Math.min(pageSize - inPage, target.length - done);
      const page = this.#page((at - inPage) / pageSize);
      if (length <= 16) for (let i = 0; i < length; i++) target[done + i] = page[inPage + i] as number;
      else target.set(page.subarray(inPage, inPage + length), done);
      done += length;
    }
  }

  #page(pfn: number): Uint8Array {
    const cached = this.#slotByPfn.get(pfn);
    if (cached !== undefined) return this.#slots[cached] as Uint8Array;
    const slot = this.#next;
    this.#slots[slot] ??= new Uint8Array(this.pageSize);
    // Forget the old page first: a read that throws half-way leaves a slot that nobody finds.
    this.#slotByPfn.delete(this.#pfns[slot] as number);
    this.#pfns[slot] = -1;
    this.#source.readPage(pfn, this.#slots[slot] as Uint8Array);
    this.#next = (slot + 1) % this.#pfns.length;
    this.#pfns[slot] = pfn;
    this.#slotByPfn.set(pfn, slot);
    return this.#slots[slot] as Uint8Array;
  }
}

/** What {@link machinePages} needs of a machine that stage 1 dumps. */
export interface MachinePages {
  readonly pageSize: number;
  /** Pfns that exist, sorted and disjoint. */
  readonly ranges: readonly Range[];
  read(pfn: number, target: Uint8Array): void;
}

/** A machine as a {@link PageSource}: outside its ranges there is no page. */
export function machinePages(machine: MachinePages): PageSource {
  return {
    pageSize: machine.pageSize,
    readPage(pfn, target) {
      if (findRange(machine.ranges, pfn) < 0)
        throw new NoDataError('PAGE_ABSENT', `there is no memory at pfn ${hex(pfn)}`, { pfn });
      machine.read(pfn, target);
    },
  };
}

/** {@link VirtualMemory} from physical memory and a translation, usually the page walk of an architecture. */
export class TranslatedMemory implements VirtualMemory {
  readonly physical: PhysicalMemory;
  readonly #translate: (vaddr: Vaddr) => Mapping;

  constructor(physical: PhysicalMemory, translate: (vaddr: Vaddr) => Mapping) {
    this.physical = physical;
    this.#translate = translate;
  }

  translate(vaddr: Vaddr): Mapping {
    return this.#translate(vaddr);
  }

  readVirtual(target: Uint8Array, vaddr: Vaddr): void {
    try {
      for (let done = 0; done < target.length; ) {
        const mapping = this.#translate(vaddr + BigInt(done));
        const length = Math.min(mapping.length, target.length - done);
        const part = length === target.length ? target : target.subarray(done, done + length);
        this.physical.readPhysical(part, mapping.paddr);
        done += length;
      }
    } catch (error) {
      throw withContext(error, `reading ${target.length} bytes at vaddr ${hex(vaddr)}`);
    }
  }
}

/** Why bytes are missing, in the words of the command line. */
export type MissingReason = 'excluded' | 'hole' | 'never captured' | 'not mapped';

const REASONS: Readonly<Record<string, MissingReason>> = {
  PAGE_EXCLUDED: 'excluded',
  PAGE_HOLE: 'hole',
  PAGE_ABSENT: 'never captured',
  NOT_MAPPED: 'not mapped',
};

/** The reason in a {@link NoDataError} that memory threw. */
export function missingReason(error: NoDataError): MissingReason {
  return REASONS[error.code] ?? 'never captured';
}

/** Integers and strings of virtual memory; one scratch buffer, no allocation per read. */
export class MemoryReader {
  readonly memory: VirtualMemory;
  readonly littleEndian: boolean;
  readonly #bytes = new Uint8Array(8);
  readonly #view: DataView;

  constructor(memory: VirtualMemory, littleEndian = true) {
    this.memory = memory;
    this.littleEndian = littleEndian;
    this.#view = new DataView(this.#bytes.buffer);
  }

  u32(vaddr: Vaddr): number {
    this.memory.readVirtual(this.#bytes.subarray(0, 4), vaddr);
    return this.#view.getUint32(0, this.littleEndian);
  }

  u64(vaddr: Vaddr): bigint {
    this.memory.readVirtual(this.#bytes, vaddr);
    return this.#view.getBigUint64(0, this.littleEndian);
  }

  /** `length` bytes in a buffer of their own. */
  bytes(vaddr: Vaddr, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.readVirtual(bytes, vaddr);
    return bytes;
  }
}
