/** Is a dump sound: does every page that it claims to have read, and prove? */

import { DumpError, FormatError, UnsupportedError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { Vmcore } from '../../format/vmcore.ts';

/** What reading every page gave. */
export interface PageCheck {
  /** Pages whose bytes were read and proved. */
  readonly good: number;
  /** Known to be zero without reading. */
  readonly zero: number;
  readonly damaged: number;
  /** Pages in a codec that is not read yet: nothing is known of them. */
  readonly unread: number;
  readonly holes: number;
  /** Sentences: the first {@link PROBLEMS_MAX} damaged pages, each codec that is not read, the holes. */
  readonly problems: readonly string[];
}

/** Sentences that are kept; further damage is counted. */
const PROBLEMS_MAX = 100;

/**
 * Reads every page. Memory does not grow with the dump.
 *
 * @param progress called with the pages gone through, zero pages included.
 */
export function checkPages(dump: Vmcore, progress: (pages: number) => void): PageCheck {
  const page = new Uint8Array(dump.pageSize);
  const problems: string[] = [];
  const counts = { good: 0, zero: 0, damaged: 0, unread: 0, holes: 0 };
  const codecs = new Map<string, number>();
  let read = 0;
  for (const run of walkRuns(dump, problems)) {
    const length = run.end - run.start;
    if (run.presence === 'hole') counts.holes += length;
    if (run.presence === 'zero') counts.zero += length;
    if (run.presence === 'stored') {
      for (let pfn = run.start; pfn < run.end; pfn++) {
        counts[readPage(dump, pfn, page, { problems, codecs })]++;
        if (++read % PROGRESS_PAGES === 0) progress(read + counts.zero);
      }
    }
    progress(read + counts.zero);
  }
  const omitted = counts.damaged - problems.length;
  if (omitted > 0) problems.push(`${omitted} more pages are damaged`);
  for (const [codec, pages] of codecs)
    problems.push(`${pages} pages are compressed with ${codec}, which is not read yet: they were not checked`);
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

interface Found {
  readonly problems: string[];
  /** Pages by the codec that is missing. */
  readonly codecs: Map<string, number>;
}

function readPage(dump: Vmcore, pfn: number, page: Uint8Array, found: Found): 'good' | 'damaged' | 'unread' {
  try {
    dump.readPage(pfn, page);
    return 'good';
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    if (error instanceof UnsupportedError) {
      const codec = String(error.data.codec ?? error.message);
      found.codecs.set(codec, (found.codecs.get(codec) ?? 0) + 1);
      return 'unread';
    }
    const place = `page ${hex(pfn)}`;
    const message = error.message.startsWith(place) ? error.message : `${place}: ${error.message}`;
    if (found.problems.length < PROBLEMS_MAX) found.problems.push(message);
    return 'damaged';
  }
}
