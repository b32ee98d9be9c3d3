/** What the pages of a dump hold, as the corpus writes it: `PFN HASH`, `FIRST-LAST Z`; pfns in hex. */

import { hash } from 'node:crypto';
import { isZeroPage } from '../../src/codec/zero.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';

/** First 16 hex digits of the SHA-256, or `Z`, by pfn. */
export type PageList = ReadonlyMap<number, string>;

/** A list of the corpus. */
export function parsePageList(text: string): PageList {
  const pages = new Map<number, string>();
  for (const line of text.trim().split('\n')) {
    const [where = '', what = ''] = line.split(' ');
    const [first = '', last = first] = where.split('-');
    for (let pfn = Number.parseInt(first, 16); pfn <= Number.parseInt(last, 16); pfn++) pages.set(pfn, what);
  }
  return pages;
}

/** Every page that the dump gives. */
export function listPages(vmcore: Pick<Vmcore, 'pageSize' | 'walkPages' | 'readPage'>): PageList {
  const pages = new Map<number, string>();
  const page = new Uint8Array(vmcore.pageSize);
  for (const run of vmcore.walkPages()) {
    if (run.presence !== 'stored' && run.presence !== 'zero') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      vmcore.readPage(pfn, page);
      pages.set(pfn, isZeroPage(page, 0, page.length) ? 'Z' : hash('sha256', page, 'hex').slice(0, 16));
    }
  }
  return pages;
}

/** The pfns where two lists differ, at most 8, as text; '' where they agree. */
export function diffPageLists(found: PageList, expected: PageList): string {
  const all = new Set([...found.keys(), ...expected.keys()]);
  const different = [...all].filter((pfn) => found.get(pfn) !== expected.get(pfn));
  return different
    .slice(0, 8)
    .map((pfn) => `${pfn.toString(16)}: ${found.get(pfn)} instead of ${expected.get(pfn)}`)
    .join(', ');
}
