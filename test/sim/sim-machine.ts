/** A small machine with every kind of page, the same for the same seed: what a capture must have stored is known. */

import { NoDataError } from '../../src/base/errors.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { findRange, normalizeRanges, type Range } from '../../src/base/ranges.ts';
import type { Machine } from '../../src/capture/machine.ts';
import { buildNote, buildPrstatus, concat } from '../support/kdump-builder.ts';

export const PAGE = 4096;

/** Where the simulated vmcoreinfo says things are; enough for drgn to take the dump for a kernel's. */
const VMCOREINFO = [
  'OSRELEASE=6.1.0-sim',
  'BUILD-ID=0123456789abcdef0123456789abcdef01234567',
  'PAGESIZE=4096',
  'SYMBOL(init_uts_ns)=ffffffff81a00000',
  'SYMBOL(swapper_pg_dir)=ffffffff81e0a000',
  'SYMBOL(_stext)=ffffffff81000000',
  'NUMBER(phys_base)=0',
  'NUMBER(pgtable_l5_enabled)=0',
  'KERNELOFFSET=0',
  'CRASHTIME=1780000000',
  '',
].join('\n');

/** How a page of the machine looks. */
export type PageKind = 'zero' | 'random' | 'compressible' | 'unreadable';

export interface SimMachine extends Machine {
  /** Pfns to have first. */
  readonly essential: readonly Range[];
  kindOf(pfn: number): PageKind;
  /** The true bytes; throws for an unreadable page. Shared: copy what is to be kept. */
  truth(pfn: number): Uint8Array;
}

/**
 * @param pages how many pages the machine has.
 * @param holes false: every page can be read.
 */
export function simMachine(seed: number, pages = 240, holes = true, pageSize = PAGE): SimMachine {
  const random = seededRandom(seed);
  const ranges = simRanges(random, pages);
  const kinds = new Map<number, PageKind>();
  const contents = new Map<number, Uint8Array>();
  for (const range of ranges) {
    for (let pfn = range.start; pfn < range.end; pfn++) {
      const drawn = simKind(random);
      const kind = drawn === 'unreadable' && !holes ? 'random' : drawn;
      kinds.set(pfn, kind);
      contents.set(pfn, simPage(random, kind, pfn, pageSize));
    }
  }
  const kindOf = (pfn: number): PageKind => kinds.get(pfn) ?? 'unreadable';
  return {
    name: `sim:${seed}`,
    kind: 'vmcore',
    arch: 'x86_64',
    pageSize,
    ranges,
    notes: simNotes(seed, pageSize),
    segments: [],
    essential: simEssential(random, ranges),
    kindOf,
    truth: (pfn) => contents.get(pfn) as Uint8Array,
    read(pfn, target) {
      for (let at = 0; at < target.length; at += pageSize, pfn++) {
        if (kindOf(pfn) === 'unreadable')
          throw new NoDataError('SIM_UNREADABLE', `reading pfn ${pfn} of the simulated machine: it is bad`, { pfn });
        target.set(contents.get(pfn) as Uint8Array, at);
      }
    },
  };
}

function simRanges(random: Random, pages: number): Range[] {
  const ranges: Range[] = [];
  let start = 1 + randomBelow(random, 8);
  for (let left = pages; left > 0; ) {
    const length = Math.min(left, 20 + randomBelow(random, pages));
    ranges.push({ start, end: start + length });
    // Now and then a gap that needs a second page of bitmap.
    start += length + (randomBelow(random, 3) === 0 ? 40000 : 1 + randomBelow(random, 300));
    left -= length;
  }
  return ranges;
}

function simKind(random: Random): PageKind {
  const draw = randomBelow(random, 100);
  if (draw < 25) return 'zero';
  if (draw < 40) return 'compressible';
  return draw < 97 ? 'random' : 'unreadable';
}

function simPage(random: Random, kind: PageKind, pfn: number, pageSize: number): Uint8Array {
  const page = new Uint8Array(pageSize);
  if (kind === 'zero') return page;
  const words = new Uint32Array(page.buffer);
  if (kind === 'compressible') words.fill(random.u32());
  else for (let i = 0; i < words.length; i++) words[i] = random.u32();
  words[0] = pfn + 1;
  return page;
}

/** Some twenty pages in small pieces, a few of them outside the machine. */
function simEssential(random: Random, ranges: readonly Range[]): Range[] {
  const end = (ranges.at(-1) as Range).end;
  const pieces: Range[] = [];
  while (pieces.length < 12) {
    const start = randomBelow(random, end);
    if (findRange(ranges, start) >= 0 || pieces.length > 10) pieces.push({ start, end: start + 1 + (start % 4) });
  }
  return normalizeRanges(pieces);
}

function simNotes(seed: number, pageSize: number): Uint8Array {
  const vmcoreinfo = VMCOREINFO.replace('PAGESIZE=4096', `PAGESIZE=${pageSize}`);
  return concat([buildPrstatus(seed, 0n), buildNote('VMCOREINFO', 0, new TextEncoder().encode(vmcoreinfo))]);
}
