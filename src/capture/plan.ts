/** Which pages go to the device, in which order: a pure decision from the machine's ranges and the essential pages. */

import { assert } from '../base/errors.ts';
import { countRanges, intersectRanges, normalizeRanges, type Range, subtractRanges } from '../base/ranges.ts';
import { LOG_LIMITS } from '../format/kdump/log-layout.ts';

/**
 * The passes of a dump, in order. The names stand in the pass table of every generation.
 *
 * - `essential`: notes, log buffer, vmcoreinfo pages, roots of the page tables, and whatever drgn and makedumpfile read at
 *   start; from its end on other tools open what is there.
 * - `rest`: every other page, by pfn.
 */
export const PASS_NAMES = ['essential', 'rest'] as const;

/** One sweep over pages of one importance. */
export interface PlannedPass {
  readonly name: string;
  /** Pfns to store, normalized. */
  readonly ranges: readonly Range[];
  /** Pages in `ranges`. */
  readonly pages: number;
}

/** What a capture sets out to store. */
export interface CapturePlan {
  /** All memory of the machine, normalized, with what a filter left out. */
  readonly ranges: readonly Range[];
  /** First pfn past the end of memory. */
  readonly maxMapnr: number;
  /** Pages in `ranges`: the bits of bitmap 1. */
  readonly present: number;
  /** Pages of all passes together. */
  readonly planned: number;
  readonly passes: readonly PlannedPass[];
}

/** Ranges of pass 0 that we keep apart; what is beyond goes with the rest. */
export const ESSENTIAL_RANGES_MAX = 2 ** 15;

/** The memory of a machine, pfns in any order; see `Machine`. */
export interface MachineMemory {
  readonly ranges: readonly Range[];
  readonly excluded?: readonly Range[];
  readonly maxMapnr?: number;
}

/**
 * Plans the passes: first what is both essential and there, then everything else by pfn. Excluded pages are in no pass.
 *
 * @param essential pfns worth having first, in any order; those that can't be read are ignored.
 */
export function planCapture(memory: MachineMemory, essential: readonly Range[]): CapturePlan {
  const { excluded = [], maxMapnr = 0 } = memory;
  const stored = normalizeRanges(memory.ranges);
  const all = normalizeRanges([...stored, ...excluded]);
  assert(
    all.length <= LOG_LIMITS.ranges,
    `planning a capture: ${all.length} ranges of memory, at most ${LOG_LIMITS.ranges}`,
  );
  const first = intersectRanges(normalizeRanges(essential), stored).slice(0, ESSENTIAL_RANGES_MAX);
  const passes = [first, subtractRanges(stored, first)].map((passRanges, index) => ({
    name: PASS_NAMES[index] as string,
    ranges: passRanges,
    pages: countRanges(passRanges),
  }));
  return {
    ranges: all,
    maxMapnr: Math.max(maxMapnr, all.at(-1)?.end ?? 0),
    present: countRanges(all),
    planned: countRanges(stored),
    passes,
  };
}

/**
 * Walks the pages of a pass in windows of neighbours, without allocating: `next` moves to the following window and
 * leaves it in `start` and `count`.
 */
export class WindowWalker {
  /** First pfn of the window. */
  start = 0;
  /** Pages in the window. */
  count = 0;
  readonly #ranges: readonly Range[];
  readonly #windowPages: number;
  #index = 0;
  #pfn: number;

  /** @param from pfns below this are skipped. @param windowPages most pages in a window. */
  constructor(ranges: readonly Range[], windowPages: number, from = 0) {
    this.#ranges = ranges;
    this.#windowPages = windowPages;
    while (this.#index < ranges.length && (ranges[this.#index] as Range).end <= from) this.#index++;
    this.#pfn = Math.max(from, ranges[this.#index]?.start ?? 0);
  }

  /** False when the pass is done. */
  next(): boolean {
    const range = this.#ranges[this.#index];
    if (!range) return false;
    this.start = this.#pfn;
    this.count = Math.min(this.#windowPages, range.end - this.#pfn);
    this.#pfn += this.count;
    if (this.#pfn === range.end) {
      this.#index++;
      this.#pfn = this.#ranges[this.#index]?.start ?? 0;
    }
    return true;
  }
}

/** How many pages of normalized `ranges` lie below `pfn`. */
export function countBelow(ranges: readonly Range[], pfn: number): number {
  let count = 0;
  for (const range of ranges) {
    if (range.start >= pfn) break;
    count += Math.min(range.end, pfn) - range.start;
  }
  return count;
}
