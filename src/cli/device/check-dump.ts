/** Is a dump sound: does every page that it claims to have read, and prove? */

import { DumpError, FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Vmcore } from '../../format/vmcore.ts';

/** What reading every page gave. */
export interface PageCheck {
  /** Pages whose bytes were read and proved. */
  readonly good: number;
  /** Known to be zero without reading. */
  readonly zero: number;
  readonly damaged: number;
  readonly holes: number;
  /** One sentence for each damaged page, the first {@link PROBLEMS_MAX} of them, and one for the holes. */
  readonly problems: readonly string[];
}

/** Sentences that are kept; further damage is counted. */
const PROBLEMS_MAX = 100;

/** Reads every page. Memory does not grow with the dump. @param progress called with the pfn reached. */
export function checkPages(dump: Vmcore, progress: (pfn: number) => void): PageCheck {
  const page = new Uint8Array(dump.pageSize);
  const problems: string[] = [];
  const counts = { good: 0, zero: 0, damaged: 0, holes: 0 };
  for (const run of walkRuns(dump, problems)) {
    const length = run.end - run.start;
    if (run.presence === 'hole') counts.holes += length;
    if (run.presence === 'zero') counts.zero += length;
    if (run.presence === 'stored') {
      for (let pfn = run.start; pfn < run.end; pfn++) {
        if (readPage(dump, pfn, page, problems)) counts.good++;
        else counts.damaged++;
        if (pfn % PROGRESS_PAGES === 0) progress(pfn);
      }
    }
    progress(run.end);
  }
  const omitted = counts.damaged - problems.length;
  if (omitted > 0) problems.push(`${omitted} more pages are damaged`);
  if (counts.holes > 0) problems.push(`${counts.holes} pages are holes: they should be there and are not`);
  return { ...counts, problems };
}

const PROGRESS_PAGES = 1024;

/** A page table that stops reading ends the walk with a sentence. */
function* walkRuns(dump: Vmcore, problems: string[]): ReturnType<typeof iterate> {
  try {
    yield* iterate(dump);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    problems.push(`the page table is damaged: ${error.message}`);
  }
}

function* iterate(dump: Vmcore) {
  yield* dump.walkPages();
}

function readPage(dump: Vmcore, pfn: number, page: Uint8Array, problems: string[]): boolean {
  try {
    dump.readPage(pfn, page);
    return true;
  } catch (error) {
    // A codec that is missing would be missing for every page: damage alone is counted.
    if (!(error instanceof DumpError)) throw error;
    if (problems.length < PROBLEMS_MAX) problems.push(`page ${hex(pfn)}: ${error.message}`);
    return false;
  }
}
