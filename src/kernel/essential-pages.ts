/**
 * Pass 0: the pages that a reader needs before anything else, so that the shortest dump still opens and shows its log.
 *
 * The list was found by tracing which pages drgn and `makedumpfile --dump-dmesg` read; `docs/pass-0.md` has the trace, and
 * `tools/trace-reads.ts` repeats it. It is planned by doing what they do, over a memory that notes every page it reads, so
 * that page tables on the way are in it without being known.
 */

import { DumpError, UnsupportedError } from '../base/errors.ts';
import { normalizeRanges, type Range } from '../base/ranges.ts';
import { findSymbols } from './kallsyms.ts';
import { listLogRing, walkMappings } from './log-rings.ts';
import { MemoryReader, type PhysicalMemory } from './memory.ts';
import { Kernel, type KernelFacts } from './open.ts';
import { readPrintkRing } from './printk.ts';

/** What pass 0 holds. */
export interface EssentialPages {
  /** Pfns, sorted and disjoint. */
  readonly ranges: readonly Range[];
  /** Parts that were found, in the order of planning. */
  readonly parts: readonly string[];
  /** Parts that were not, and why; a plan with these is as good as the machine allows. */
  readonly skipped: readonly { readonly part: string; readonly reason: string }[];
}

/** Pages that are planned, tables apart: 256 MiB of 4 KiB. The kernel's largest log takes 6 GiB; then it goes with the rest. */
const PAGES_MAX = 65536;
/** Touched pages that are gathered before they are merged. */
const GATHER_MAX = 8192;
/** `MAX_NUMNODES` at its largest, with NODES_SHIFT 10. */
const NODES_MAX = 1024;
/** A root of sections covers 32 GiB with 4 KiB pages; 2^MAX_PHYSMEM_BITS bytes take at most 2^17 of them. */
const SECTION_ROOTS_MAX = 131072;
/** Tables of one region: 4 TiB in 2 MiB pages. */
const TABLES_MAX = 4096;
const WORD = 8;

/** Symbols whose variables tell an analyzer where everything lies; looked up where vmcoreinfo leads to kallsyms. */
const BASE_SYMBOLS = [
  'page_offset_base',
  'vmalloc_base',
  'vmemmap_base',
  'phys_base',
  'linux_banner',
  'vmcoreinfo_data',
  'vmcoreinfo_note',
  'crash_notes',
  'log_buf',
  'log_buf_len',
] as const;
/** Of these, pointers whose target belongs to pass 0 as well: one page each. */
const BASE_POINTERS: readonly string[] = ['vmcoreinfo_data', 'vmcoreinfo_note'];

/**
 * Plans pass 0 of a machine. Reads some hundred pages, keeps a few of them; a part that cannot be found is skipped and
 * reported, nothing throws.
 */
export function planEssentialPages(facts: KernelFacts): EssentialPages {
  const pages = new PageGatherer(facts.physical);
  const kernel = new Kernel({ ...facts, physical: pages });
  const parts: string[] = [];
  const skipped: { part: string; reason: string }[] = [];
  for (const [part, gather] of PARTS) {
    try {
      gather(kernel, pages, facts);
      parts.push(part);
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      // What was gathered until then stays: a log without its last array is worth more than none.
      skipped.push({ part, reason: error.message });
    }
  }
  return { ranges: pages.ranges(), parts, skipped };
}

type Gather = (kernel: Kernel, pages: PageGatherer, facts: KernelFacts) => void;

/** The order is that of planning only: pass 0 is written by pfn. */
const PARTS: readonly (readonly [part: string, gather: Gather])[] = [
  ['utsname', (kernel) => void kernel.readUtsname()],
  ['log', gatherLog],
  [
    'node_online_map',
    (kernel, pages) => gatherVariable(kernel, pages, 'node_online_map', kernel.vmcoreinfo.size('nodemask_t')),
  ],
  ['mem_section', gatherSections],
  ['node_data', gatherNodes],
  ['base variables', gatherBases],
  ['page tables', gatherTables],
];

function gatherLog(kernel: Kernel, pages: PageGatherer): void {
  const layout = kernel.printkLayout;
  for (const { vaddr, length } of listLogRing(readPrintkRing(kernel.memory, layout), layout))
    pages.addVirtual(kernel, vaddr, length);
}

function gatherVariable(kernel: Kernel, pages: PageGatherer, name: string, length = WORD): void {
  pages.addVirtual(kernel, kernel.vmcoreinfo.need('SYMBOL', name), length);
}

/**
 * The sparse memory map: the array of roots, and the sections that each root points to. Since 4.15 vmcoreinfo's mem_section is
 * the array's address itself. A static array (no SPARSEMEM_EXTREME) has the sections in place of the pointers.
 */
function gatherSections(kernel: Kernel, pages: PageGatherer): void {
  const { vmcoreinfo, memory } = kernel;
  const array = vmcoreinfo.need('SYMBOL', 'mem_section');
  const count = Math.min(vmcoreinfo.need('LENGTH', 'mem_section'), SECTION_ROOTS_MAX);
  const sectionSize = Math.max(1, vmcoreinfo.need('SIZE', 'mem_section'));
  const { pageSize } = kernel.physical;
  pages.addVirtual(kernel, array, count * WORD);
  const reader = new MemoryReader(memory);
  for (let i = 0; i < count; i++) {
    const root = reader.u64(array + BigInt(i * WORD));
    if (root !== 0n) pages.addVirtual(kernel, root, Math.floor(pageSize / sectionSize) * sectionSize);
  }
}

/** The array of nodes and each node's pglist_data: makedumpfile reads them where memory is discontiguous, crash always. */
function gatherNodes(kernel: Kernel, pages: PageGatherer): void {
  const { vmcoreinfo, memory } = kernel;
  const array = vmcoreinfo.need('SYMBOL', 'node_data');
  const count = Math.min(vmcoreinfo.need('LENGTH', 'node_data'), NODES_MAX);
  const size = vmcoreinfo.need('SIZE', 'pglist_data');
  pages.addVirtual(kernel, array, count * WORD);
  const reader = new MemoryReader(memory);
  for (let i = 0; i < count; i++) {
    const node = reader.u64(array + BigInt(i * WORD));
    if (node !== 0n) pages.addVirtual(kernel, node, size);
  }
}

function gatherBases(kernel: Kernel, pages: PageGatherer, facts: KernelFacts): void {
  // The symbol table is megabytes that nobody needs in pass 0: looked up past the gatherer.
  const symbols = findSymbols(new Kernel(facts).memory, kernel.vmcoreinfo, BASE_SYMBOLS);
  const reader = new MemoryReader(kernel.memory);
  for (const [name, vaddr] of symbols ?? []) {
    pages.addVirtual(kernel, vaddr, WORD);
    const target = BASE_POINTERS.includes(name) ? reader.u64(vaddr) : 0n;
    if (target !== 0n) pages.addVirtual(kernel, target, 1);
  }
}

/**
 * Tables that libkdumpfile walks, and drgn with it, to find the linear maps: all of the image's, and of the lower half those
 * of the first region in which addresses and pages go together, up to the first page that breaks the line. It works without
 * them as well, more slowly. Of a linear map in 1 GiB pages that is a handful, in 2 MiB pages one for each GiB of memory.
 */
function gatherTables(kernel: Kernel): void {
  const space = kernel.addressSpace;
  for (const _ of space.walkTables(space.regions.image.start, space.regions.image.end, TABLES_MAX));
  let line: bigint | undefined;
  for (const { firstLeaf } of space.walkTables(space.regions.lower.start, space.regions.lower.end, TABLES_MAX)) {
    if (!firstLeaf) continue;
    const offset = firstLeaf.vaddr - BigInt(firstLeaf.paddr);
    line ??= offset;
    if (offset !== line) return;
  }
}

/** Passes reads on and notes the pages. Noted pages are merged into ranges as they come, so memory stays small. */
class PageGatherer implements PhysicalMemory {
  readonly pageSize: number;
  readonly #physical: PhysicalMemory;
  #merged: Range[] = [];
  #fresh: Range[] = [];
  #left = PAGES_MAX;

  constructor(physical: PhysicalMemory) {
    this.#physical = physical;
    this.pageSize = physical.pageSize;
  }

  readPhysical(target: Uint8Array, paddr: number): void {
    this.#physical.readPhysical(target, paddr);
    this.#add(paddr, target.length);
  }

  /** Notes the pages behind virtual addresses without reading them; the page tables on the way are read and noted. */
  addVirtual(kernel: Kernel, vaddr: bigint, length: number): void {
    const pages = Math.ceil(length / this.pageSize) + 1;
    if (pages > this.#left)
      throw new UnsupportedError('ESSENTIAL_PAGES', `${length} bytes more are too many for pass 0`, { length });
    this.#left -= pages;
    for (const mapping of walkMappings(kernel.memory, vaddr, length)) this.#add(mapping.paddr, mapping.length);
  }

  ranges(): readonly Range[] {
    this.#merge();
    return this.#merged;
  }

  #add(paddr: number, length: number): void {
    const start = Math.floor(paddr / this.pageSize);
    const end = Math.ceil((paddr + length) / this.pageSize);
    const last = this.#fresh.at(-1);
    if (last && start >= last.start && start <= last.end) {
      if (end > last.end) this.#fresh[this.#fresh.length - 1] = { start: last.start, end };
      return;
    }
    this.#fresh.push({ start, end });
    if (this.#fresh.length >= GATHER_MAX) this.#merge();
  }

  #merge(): void {
    this.#merged = normalizeRanges([...this.#merged, ...this.#fresh]);
    this.#fresh = [];
  }
}
