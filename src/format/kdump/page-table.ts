/** Bitmaps and descriptors of a KDUMP file together: what a pfn's page is, and where its bytes lie. */

import { FormatError, isBadSector } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { ByteSource } from '../../base/source.ts';
import { CODEC_FLAG } from '../../codec/codec.ts';
import { isZeroPage } from '../../codec/zero.ts';
import { PageBitmap } from '../page-bitmap.ts';
import type { PageCounts, PagePresence, PageRun } from '../vmcore.ts';
import { DescriptorTable } from './descriptors.ts';
import type { KdumpHeader } from './header.ts';
import { DUMP_LEVEL_ZERO } from './layout.ts';

/** Descriptors looked at to find the first page that has bytes, and the last ones to find a file that was cut. */
const PROBE_DESCRIPTORS = 1024;

/**
 * The page table. Asking for a page's presence makes its descriptor the current one, whose fields `descriptor` shows until the
 * next question.
 */
export class KdumpPageTable {
  readonly #source: ByteSource;
  readonly #maxMapnr: number;
  readonly #pageSize: number;
  readonly #bitmap1: PageBitmap;
  readonly #bitmap2: PageBitmap;
  readonly #descriptors: DescriptorTable;
  readonly #sharesZero: boolean;
  /** What a page of bitmap 1 without a descriptor is: filtered out, or, where no filter was at work, missing. */
  readonly #unstored: 'excluded' | 'hole';
  readonly #zeroChecksum: number;
  #probed = false;
  /** Where the shared zero page lies: in block 2 as on a dump device, or before the data; NaN where it does not. */
  #zeroInHead = Number.NaN;
  #zeroInData = Number.NaN;
  readonly #requireProofs: boolean;
  #keepsProofs: boolean;

  /**
   * @param zeroChecksum CRC-32 of a page of zeros.
   * @param options.requireProofs every descriptor must prove its page, as on a dump device; otherwise the first one tells.
   * @param options.descriptorCount nothing behind so many descriptors is read.
   */
  constructor(
    source: ByteSource,
    header: KdumpHeader,
    zeroChecksum: number,
    options: { readonly requireProofs?: boolean; readonly descriptorCount?: number },
  ) {
    const { requireProofs = false, descriptorCount } = options;
    this.#source = source;
    this.#maxMapnr = header.maxMapnr;
    this.#pageSize = header.pageSize;
    this.#bitmap1 = new PageBitmap(source, header.bitmap1Offset, header.maxMapnr);
    this.#bitmap2 = new PageBitmap(source, header.bitmap2Offset, header.maxMapnr);
    this.#descriptors = new DescriptorTable(source, header.descriptorsOffset, descriptorCount);
    this.#sharesZero = (header.dumpLevel & DUMP_LEVEL_ZERO) !== 0;
    this.#unstored = (header.dumpLevel & ~DUMP_LEVEL_ZERO) === 0 ? 'hole' : 'excluded';
    this.#zeroChecksum = zeroChecksum;
    this.#requireProofs = requireProofs;
    this.#keepsProofs = requireProofs;
  }

  /** The descriptor of the page that was asked for last, where that was stored or zero. */
  get descriptor(): Pick<DescriptorTable, 'offset' | 'length' | 'flags'> {
    return this.#descriptors;
  }

  presence(pfn: number): PagePresence {
    if (pfn < 0 || pfn >= this.#maxMapnr) return 'absent';
    if (this.#bitmap2.has(pfn)) return this.#load(pfn, this.#bitmap2.rank(pfn));
    return this.#bitmap1.has(pfn) ? this.#unstored : 'absent';
  }

  /** CRC-32 of the page by the current descriptor, where it has one for this pfn. */
  proof(pfn: number): number | undefined {
    const { proofLow, proofHigh } = this.#descriptors;
    return hasProof(pfn, proofLow, proofHigh) ? proofLow : undefined;
  }

  /** @throws FormatError where the current descriptor contradicts the format, or belongs to another page. */
  check(pfn: number): void {
    const { offset, length, flags, proofLow, proofHigh } = this.#descriptors;
    const fits = flags === CODEC_FLAG.raw ? length === this.#pageSize : length > 0 && length <= this.#pageSize;
    if (!fits || Number.isNaN(offset)) {
      throw new FormatError(
        'KDUMP_PAGE_LENGTH',
        `page descriptor of pfn ${hex(pfn)} of ${this.#source.name} stores ${length} bytes at offset ${hex(offset)} with flags ` +
          `${hex(flags)}, page size is ${this.#pageSize}`,
        { pfn, offset, length, flags, pageSize: this.#pageSize },
        'the descriptor table is damaged; `diskdump check` lists the pages that still read',
      );
    }
    if (!this.#keepsProofs || hasProof(pfn, proofLow, proofHigh)) return;
    if (!this.#requireProofs && proofLow === 0 && proofHigh === 0) return;
    throw new FormatError(
      'KDUMP_PAGE_RANK',
      `page descriptor of pfn ${hex(pfn)} of ${this.#source.name} belongs to pfn ${hex(proofHigh)}`,
      { pfn, found: proofHigh, offset },
      'bitmap and descriptor table do not fit together; `diskdump check` lists the pages that still read',
    );
  }

  /** See `Vmcore.walkPages`. */
  *walk(start: number): Generator<PageRun> {
    let run: { start: number; end: number; presence: PageRun['presence'] } | undefined;
    let rank = this.#bitmap2.rank(start);
    let [next1, next2] = [-1, -1];
    for (let index = Math.floor(start / 32); index < this.#bitmap2.wordCount; index++) {
      const word2 = this.#bitmap2.word(index);
      const either = this.#bitmap1.word(index) | word2;
      if (either === 0) {
        if (next1 <= index) next1 = this.#bitmap1.nextWord(index + 1);
        if (next2 <= index) next2 = this.#bitmap2.nextWord(index + 1);
        index = Math.min(next1, next2) - 1;
        continue;
      }
      for (let bit = Math.max(start - 32 * index, 0); bit < 32; bit++) {
        if (((either >>> bit) & 1) === 0) continue;
        const pfn = 32 * index + bit;
        const presence = (word2 >>> bit) & 1 ? this.#load(pfn, rank++) : this.#unstored;
        if (run !== undefined && run.end === pfn && run.presence === presence) {
          run.end = pfn + 1;
          continue;
        }
        if (run !== undefined) yield run;
        run = { start: pfn, end: pfn + 1, presence };
      }
    }
    if (run !== undefined) yield run;
  }

  /** See `Vmcore.countPages`. @param name gives a codec's name for its flags. */
  count(name: (flags: number) => string): PageCounts {
    const byFlags = new Map<number, number>();
    let stored = 0;
    let zero = 0;
    let rank = 0;
    for (let pfn = this.#bitmap2.next(0); pfn < this.#maxMapnr; pfn = this.#bitmap2.next(pfn + 1)) {
      const presence = this.#load(pfn, rank++);
      if (presence === 'hole') continue;
      stored++;
      if (presence === 'zero') zero++;
      else byFlags.set(this.#descriptors.flags, (byFlags.get(this.#descriptors.flags) ?? 0) + 1);
    }
    const byCodec = Object.fromEntries([...byFlags].map(([flags, count]) => [name(flags), count]));
    return { present: this.#bitmap1.count(), stored, zero, byCodec };
  }

  /** Do the last pages lie beyond the end of the file? Reads bitmap 2 whole and a window of descriptors. */
  endsEarly(): boolean {
    const count = this.#bitmap2.count();
    for (let rank = Math.max(0, count - PROBE_DESCRIPTORS); rank < count; rank++) {
      if (!this.#descriptors.load(rank)) return true;
      if (this.#descriptors.offset + this.#descriptors.length > this.#source.size) return true;
    }
    return false;
  }

  /** Makes the descriptor of a page of bitmap 2 the current one and says what it means. */
  #load(pfn: number, rank: number): 'stored' | 'zero' | 'hole' {
    const descriptors = this.#descriptors;
    if (!this.#probed) this.#probeFirst();
    if (!descriptors.load(rank)) return 'hole';
    const { offset, length } = descriptors;
    if (offset === 0 || (length <= this.#pageSize && offset + length > this.#source.size)) return 'hole';
    const isShared = offset === this.#zeroInHead || offset === this.#zeroInData;
    return isShared && this.#isHonestZero(pfn) ? 'zero' : 'stored';
  }

  /** A zero page whose length, flags or proof says otherwise is left to the read, which refuses it. */
  #isHonestZero(pfn: number): boolean {
    const { length, flags, proofLow, proofHigh } = this.#descriptors;
    if (flags !== CODEC_FLAG.raw || length !== this.#pageSize) return false;
    if (hasProof(pfn, proofLow, proofHigh)) return proofLow === this.#zeroChecksum;
    return !this.#keepsProofs || (!this.#requireProofs && proofLow === 0 && proofHigh === 0);
  }

  /**
   * Looks at the first stored pages once: which offset is the shared zero page's, and do descriptors keep proofs?
   *
   * The shared page is the first of the data, before the first page that has bytes of its own, or block 2 of a dump
   * device. Whatever is taken for it is verified to be zeros, and a descriptor must name exactly that offset, so a wrong
   * guess only costs the knowledge that a page is zero.
   */
  #probeFirst(): void {
    this.#probed = true;
    const pfn = this.#findFirstStored();
    if (pfn === undefined) return;
    const { offset, proofLow, proofHigh } = this.#descriptors;
    // Only we write anything there. Whether it fits this pfn is another question: after a bit lost in bitmap 2 none fits.
    this.#keepsProofs ||= proofLow !== 0 || proofHigh !== 0;
    if (!this.#sharesZero) return;
    // Where each descriptor proves its page, block 2 need not be readable.
    if (this.#requireProofs || this.#isZeroAt(2 * this.#pageSize)) this.#zeroInHead = 2 * this.#pageSize;
    this.#zeroInData = [offset, offset - this.#pageSize].find((at) => this.#isZeroAt(at)) ?? Number.NaN;
  }

  /** The first page whose descriptor names bytes; its descriptor becomes the current one. */
  #findFirstStored(): number | undefined {
    let pfn = this.#bitmap2.next(0);
    for (let rank = 0; rank < PROBE_DESCRIPTORS && pfn < this.#maxMapnr; rank++, pfn = this.#bitmap2.next(pfn + 1)) {
      if (!this.#descriptors.load(rank)) return undefined;
      if (this.#descriptors.offset > 0) return pfn;
    }
    return undefined;
  }

  #isZeroAt(offset: number): boolean {
    if (!(offset >= 2 * this.#pageSize) || offset + this.#pageSize > this.#source.size) return false;
    const page = new Uint8Array(this.#pageSize);
    try {
      return this.#source.readInto(page, offset) === page.length && isZeroPage(page, 0, page.length);
    } catch (error) {
      if (!isBadSector(error)) throw error;
      return false;
    }
  }
}

/** PAGE_PROOF: the high half names the pfn; all zeros is what other writers leave. */
function hasProof(pfn: number, proofLow: number, proofHigh: number): boolean {
  return proofHigh === pfn % 2 ** 32 && (proofLow !== 0 || proofHigh !== 0);
}
