/** Which bytes of an ELF core are which bytes of memory: disjoint extents, sorted by physical address. */

import { normalizeRanges, type Range, subtractRanges } from '../../base/ranges.ts';
import type { ElfLoad } from './headers.ts';

/** Sorted, disjoint extents in columns; `end[i] ≤ start[i + 1]`. */
export interface Extents {
  readonly count: number;
  readonly start: Float64Array;
  readonly end: Float64Array;
  /** File offset of `start`. */
  readonly offset: Float64Array;
}

/** The memory of a core, in pages half-open. */
export interface ElfPages {
  /** Pages with at least one byte that the headers place in the file. */
  readonly present: readonly Range[];
  /** Of these, the ones whose bytes lie beyond the end of the file. */
  readonly cut: readonly Range[];
  /** Pages that the headers tell of and place nowhere: segment tails that a filter left out. */
  readonly excluded: readonly Range[];
}

/**
 * The parts of the segments that are in the file.
 *
 * Segments overlap: the kernel text has one of its own besides that of the memory it lies in. Both show the same bytes,
 * so the first by address is taken and the rest of the other kept.
 */
export function planExtents(loads: readonly ElfLoad[]): Extents {
  const sorted = loads.filter((load) => load.fileSize > 0).sort((a, b) => a.paddr - b.paddr);
  const start = new Float64Array(sorted.length);
  const end = new Float64Array(sorted.length);
  const offset = new Float64Array(sorted.length);
  let count = 0;
  let covered = 0;
  for (const load of sorted) {
    const from = Math.max(load.paddr, covered);
    const to = load.paddr + load.fileSize;
    if (to <= from) continue;
    start[count] = from;
    end[count] = to;
    offset[count] = load.offset + (from - load.paddr);
    covered = to;
    count++;
  }
  return { count, start, end, offset };
}

/** Sorts the pages of a core by what can be had of them; `fileSize` is the source's. */
export function planPages(loads: readonly ElfLoad[], extents: Extents, pageSize: number, fileSize: number): ElfPages {
  const toPages = (start: number, end: number): Range => ({
    start: Math.floor(start / pageSize),
    end: Math.ceil(end / pageSize),
  });
  const present: Range[] = [];
  const cut: Range[] = [];
  for (let i = 0; i < extents.count; i++) {
    const [start, end, offset] = [extents.start[i]!, extents.end[i]!, extents.offset[i]!];
    present.push(toPages(start, end));
    const there = Math.max(0, fileSize - offset);
    if (there < end - start) cut.push(toPages(start + there, end));
  }
  const described = loads.filter((load) => load.memorySize > 0);
  const all = normalizeRanges(described.map((load) => toPages(load.paddr, load.paddr + load.memorySize)));
  const presentPages = normalizeRanges(present);
  return { present: presentPages, cut: normalizeRanges(cut), excluded: subtractRanges(all, presentPages) };
}

/** Index of the first extent that ends after `paddr`; `count` where none does. O(log n). */
export function firstExtent(extents: Extents, paddr: number): number {
  let low = 0;
  let high = extents.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (extents.end[middle]! <= paddr) low = middle + 1;
    else high = middle;
  }
  return low;
}
