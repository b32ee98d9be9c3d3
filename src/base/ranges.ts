/** Sorted, disjoint, half-open ranges of pfns, addresses or blocks. */

/** `start` ≤ x < `end`. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** Sorted by start, merged where they touch or overlap, empty ones dropped. */
export function normalizeRanges(ranges: Iterable<Range>): Range[] {
  const sorted = [...ranges].filter((range) => range.end > range.start).sort((a, b) => a.start - b.start);
  const merged: { start: number; end: number }[] = [];
  for (const range of sorted) {
    const last = merged.at(-1);
    if (last && range.start <= last.end) last.end = Math.max(last.end, range.end);
    else merged.push({ start: range.start, end: range.end });
  }
  return merged;
}

/** What is in both. Both normalized; so is the result. */
export function intersectRanges(a: readonly Range[], b: readonly Range[]): Range[] {
  const both: Range[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [x, y] = [a[i] as Range, b[j] as Range];
    const start = Math.max(x.start, y.start);
    const end = Math.min(x.end, y.end);
    if (start < end) both.push({ start, end });
    if (x.end < y.end) i++;
    else j++;
  }
  return both;
}

/** What is in `a` and not in `b`. Both normalized; so is the result. */
export function subtractRanges(a: readonly Range[], b: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let j = 0;
  for (const range of a) {
    let start = range.start;
    while (j < b.length && (b[j] as Range).end <= start) j++;
    for (let k = j; k < b.length && (b[k] as Range).start < range.end; k++) {
      const cut = b[k] as Range;
      if (cut.start > start) rest.push({ start, end: cut.start });
      start = Math.max(start, cut.end);
    }
    if (start < range.end) rest.push({ start, end: range.end });
  }
  return rest;
}

/** How many integers the ranges hold together. */
export function countRanges(ranges: readonly Range[]): number {
  let count = 0;
  for (const range of ranges) count += range.end - range.start;
  return count;
}

/** Index of the range that holds `value`, or −1. O(log n) over normalized ranges. */
export function findRange(ranges: readonly Range[], value: number): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle] as Range).end <= value) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && (ranges[low] as Range).start <= value ? low : -1;
}
