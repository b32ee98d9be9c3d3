/** Copies a dump into a KDUMP file in classic order, proving every page on the way, and proves the copy afterwards. */

import type { Crc32 } from '../base/crc32.ts';
import { AssertionError, DeviceError, DumpError, FormatError, isBadSector, withContext } from '../base/errors.ts';
import type { Range } from '../base/ranges.ts';
import type { ByteSink } from '../base/sink.ts';
import type { ByteSource } from '../base/source.ts';
import type { CodecTable } from '../codec/codec.ts';
import { restorePage } from '../format/kdump/page-proof.ts';
import { openKdump } from '../format/kdump/reader.ts';
import { type KdumpPlan, KdumpWriter } from '../format/kdump/writer.ts';
import type { PageRun, Vmcore } from '../format/vmcore.ts';

/** Pages that the source promised and that could not be proved; pfns half-open. */
export interface Struck {
  readonly start: number;
  readonly end: number;
  readonly error: string;
}

export interface CopySummary {
  /** Pages in the file, zero pages included. */
  readonly pages: number;
  readonly zero: number;
  readonly bytes: number;
  /** Struck pages, the first ones by range. */
  readonly struck: readonly Struck[];
  readonly struckPages: number;
}

export interface CopyOptions {
  readonly codecs: CodecTable;
  readonly crc: Crc32;
}

/** Pages between two yields. */
const SERVE_PAGES = 256;
/** Ranges of struck pages that are listed. */
const STRUCK_MAX = 1024;

/**
 * Copies every page that can be proved; the others are struck and the file is marked incomplete. Yields the count of pages
 * gone through, at first and every {@link SERVE_PAGES}.
 *
 * @param partial marks the file incomplete whatever was struck
 * @throws DeviceError from the sink, or from a source that is dead; a page that alone cannot be read is struck.
 */
export function* copyVmcore(
  vmcore: Vmcore,
  sink: ByteSink,
  plan: Omit<KdumpPlan, 'present'>,
  partial: boolean,
  options: CopyOptions,
): Generator<number, CopySummary> {
  const writer = new KdumpWriter(sink);
  writer.start({ ...plan, present: presentRanges(vmcore.walkPages()) });
  const stored = new Uint8Array(vmcore.pageSize);
  const page = new Uint8Array(vmcore.pageSize);
  const prover = { codecs: options.codecs, crc: options.crc, pageSize: vmcore.pageSize };
  const struck = new StruckList();
  let pages = 0;
  yield pages;
  for (const run of vmcore.walkPages()) {
    if (run.presence !== 'stored' && run.presence !== 'zero') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      try {
        const found = vmcore.readStored(pfn, stored);
        if (found.length > 0) {
          const { checksum } = found;
          if (checksum === undefined) vmcore.readPage(pfn, page);
          else restorePage(prover, stored.subarray(0, found.length), { pfn, flags: found.flags, checksum }, page);
        }
        writer.appendPage(pfn, found, stored);
      } catch (error) {
        struck.add(pfn, strikeReason(error));
      }
      if (++pages % SERVE_PAGES === 0) yield pages;
    }
  }
  const summary = writer.finish({ incomplete: partial || struck.pages > 0 });
  return {
    pages: summary.stored,
    zero: summary.zero,
    bytes: summary.size,
    struck: struck.ranges,
    struckPages: struck.pages,
  };
}

/**
 * Reads a copy back and proves each page by the checksum that came with it from stage 1. Yields as {@link copyVmcore}.
 *
 * @throws FormatError `SAVE_VERIFY` where the copy is not what was written.
 */
export function* verifyCopy(
  source: ByteSource,
  expected: Pick<CopySummary, 'pages' | 'bytes'>,
  options: CopyOptions,
): Generator<number, void> {
  const copy = openKdump(source, options);
  const page = new Uint8Array(copy.pageSize);
  let pages = 0;
  yield pages;
  for (const run of copy.walkPages()) {
    if (run.presence !== 'stored' && run.presence !== 'zero') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      try {
        copy.readPage(pfn, page);
      } catch (error) {
        throw withContext(error, 'verifying the saved vmcore');
      }
      if (++pages % SERVE_PAGES === 0) yield pages;
    }
  }
  if (pages === expected.pages && source.size >= expected.bytes) return;
  throw new FormatError(
    'SAVE_VERIFY',
    `verifying the saved vmcore: it gives ${pages} pages in ${source.size} bytes, ${expected.pages} in ${expected.bytes} were written`,
    { pages, expected: expected.pages, size: source.size },
    'the file system under the save directory lost data; the dump is still on its device',
  );
}

/** Everything that exists, whether stored or not. */
function* presentRanges(runs: Iterable<PageRun>): Generator<Range> {
  let start = 0;
  let end = 0;
  for (const run of runs) {
    if (run.start > end) {
      if (end > start) yield { start, end };
      start = run.start;
    }
    end = run.end;
  }
  if (end > start) yield { start, end };
}

/** Why a page is struck. What cannot be the page's own fault goes on up. */
function strikeReason(error: unknown): string {
  const isPageError = error instanceof DumpError && !(error instanceof AssertionError);
  if (!isPageError) throw error;
  // A write that failed, or a device that answers nothing any more: going on would strike every page there is.
  if (error instanceof DeviceError && !isBadSector(error)) throw error;
  return error.message;
}

class StruckList {
  readonly ranges: { start: number; end: number; error: string }[] = [];
  pages = 0;

  add(pfn: number, error: string): void {
    this.pages++;
    const last = this.ranges.at(-1);
    if (last && last.end === pfn) last.end = pfn + 1;
    else if (this.ranges.length < STRUCK_MAX) this.ranges.push({ start: pfn, end: pfn + 1, error });
  }
}
