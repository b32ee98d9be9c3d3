/** Compares a saved dump with the guest's memory as the host read it from outside, both ways, page by page. */

import { closeSync, openSync, readSync } from 'node:fs';
import { normalizeRanges, type Range, subtractRanges } from '../base/ranges.ts';
import { isDumpError } from '../base/source.ts';
import type { Vmcore } from '../format/vmcore.ts';

/** What the guest's own `/proc/iomem` said before the crash, in bytes. */
export interface GuestMemoryMap {
  readonly systemRam: readonly Range[];
  readonly crashKernel: readonly Range[];
}

/** The outcome of a comparison. */
export interface MemoryCheck {
  /** Pages that must be in the dump. */
  readonly expected: number;
  /** Of these: the dump has them and they equal. */
  readonly equal: number;
  /** Pages of the dump outside what is expected that equal memory as well (the first MiB, half pages at a range's end). */
  readonly extraEqual: number;
  /** Each problem kind with its first pfns. */
  readonly missing: readonly number[];
  readonly different: readonly number[];
  /** Pages in the dump where the guest had no memory, or in the capture kernel's region. */
  readonly foreign: readonly number[];
}

const PAGE = 4096;
const FIRST_MIB: Range = { start: 0, end: 2 ** 20 };
/** Pfns of each problem that are kept. */
const EXAMPLES_MAX = 16;

/** Reads `/proc/iomem` as root sees it. Top-level `System RAM`, and the `Crash kernel` inside it. */
export function parseIomem(text: string): GuestMemoryMap {
  const pick = (pattern: RegExp): Range[] =>
    normalizeRanges(
      [...text.matchAll(pattern)].map((match) => ({
        start: Number.parseInt(match[1] as string, 16),
        end: Number.parseInt(match[2] as string, 16) + 1,
      })),
    );
  return {
    systemRam: pick(/^([0-9a-f]+)-([0-9a-f]+) : System RAM/gm),
    crashKernel: pick(/^\s*([0-9a-f]+)-([0-9a-f]+) : Crash kernel/gm),
  };
}

/**
 * Every whole page of System RAM outside the crashkernel region and the first MiB must be in the dump and equal the RAM
 * file; and every page of the dump must be System RAM and equal it.
 *
 * @param ramPath the guest's RAM, offset = physical address.
 */
export function checkMemory(dump: Vmcore, ramPath: string, map: GuestMemoryMap): MemoryCheck {
  const ram = openSync(ramPath, 'r');
  try {
    return compare(dump, ram, map);
  } finally {
    closeSync(ram);
  }
}

/** True when the check found nothing wrong. */
export function memoryAgrees(check: MemoryCheck): boolean {
  return check.equal === check.expected && check.missing.length + check.different.length + check.foreign.length === 0;
}

/** The check as one line. */
export function formatMemoryCheck(check: MemoryCheck): string {
  const list = (name: string, pfns: readonly number[]) =>
    pfns.length === 0 ? '' : `, ${name}: ${pfns.map((pfn) => pfn.toString(16)).join(' ')}`;
  return `${check.equal} of ${check.expected} pages equal${list('missing', check.missing)}${list('different', check.different)}${list('foreign', check.foreign)}`;
}

function compare(dump: Vmcore, ram: number, map: GuestMemoryMap): MemoryCheck {
  const wholePages = (ranges: readonly Range[], inwards: boolean) =>
    normalizeRanges(
      ranges.map(({ start, end }) => ({
        start: inwards ? Math.ceil(start / PAGE) : Math.floor(start / PAGE),
        end: inwards ? Math.floor(end / PAGE) : Math.ceil(end / PAGE),
      })),
    );
  const crashKernel = wholePages(map.crashKernel, false);
  const expected = subtractRanges(
    wholePages(map.systemRam, true),
    [...wholePages([FIRST_MIB], false), ...crashKernel].sort((a, b) => a.start - b.start),
  );
  const allowed = subtractRanges(wholePages(map.systemRam, false), crashKernel);
  const found = {
    equal: 0,
    extraEqual: 0,
    missing: [] as number[],
    different: [] as number[],
    foreign: [] as number[],
  };
  const note = (list: number[], pfn: number) => {
    if (list.length < EXAMPLES_MAX) list.push(pfn);
  };
  const present = normalizeRanges(
    [...dump.walkPages()]
      .filter((run) => run.presence === 'stored' || run.presence === 'zero')
      .map(({ start, end }) => ({ start, end })),
  );
  for (const range of subtractRanges(present, allowed)) note(found.foreign, range.start);
  for (const range of subtractRanges(expected, present))
    for (let pfn = range.start; pfn < range.end; pfn++) note(found.missing, pfn);
  const inExpected = createCursor(expected);
  const truth = Buffer.alloc(PAGE);
  const page = new Uint8Array(PAGE);
  for (const range of subtractRanges(present, subtractRanges(present, allowed))) {
    for (let pfn = range.start; pfn < range.end; pfn++) {
      readSync(ram, truth, 0, PAGE, pfn * PAGE);
      if (!readPage(dump, pfn, page) || truth.compare(page) !== 0) note(found.different, pfn);
      else if (inExpected(pfn)) found.equal++;
      else found.extraEqual++;
    }
  }
  let count = 0;
  for (const { start, end } of expected) count += end - start;
  return { expected: count, ...found };
}

function readPage(dump: Vmcore, pfn: number, target: Uint8Array): boolean {
  try {
    dump.readPage(pfn, target);
    return true;
  } catch (error) {
    if (isDumpError(error)) return false;
    throw error;
  }
}

/** Answers whether ascending values lie in sorted ranges. */
function createCursor(ranges: readonly Range[]): (value: number) => boolean {
  let index = 0;
  return (value) => {
    while (index < ranges.length && (ranges[index] as Range).end <= value) index++;
    return index < ranges.length && (ranges[index] as Range).start <= value;
  };
}
