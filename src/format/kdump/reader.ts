/** KDUMP files of makedumpfile, QEMU and diskdump, versions 1 to 6, opened as a {@link Vmcore}. */

import type { Pfn } from '../../base/address.ts';
import { type Crc32, crc32 } from '../../base/crc32.ts';
import { FormatError, NoDataError, UnsupportedError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import { CODEC_FLAG, type CodecTable } from '../../codec/codec.ts';
import { isZeroPage } from '../../codec/zero.ts';
import { archOfMachine, archOfNotes } from '../arch.ts';
import { findNote, type Note, VMCOREINFO_OWNER } from '../notes.ts';
import { PageBitmap } from '../page-bitmap.ts';
import { readAhead } from '../read-ahead.ts';
import type {
  ArchName,
  PageCounts,
  PagePresence,
  PageRun,
  StoredPage,
  VirtualSegment,
  Vmcore,
  VmcoreHeader,
} from '../vmcore.ts';
import { DescriptorTable } from './descriptors.ts';
import { type KdumpHeader, readKdumpHeader } from './header.ts';
import { DUMP_LEVEL_ZERO } from './layout.ts';

/** What the pages of a dump are restored and checked with. */
export interface KdumpOptions {
  /** Codecs at hand; a page in another one is an `UnsupportedError` that names it. */
  readonly codecs: CodecTable;
  /** Default: the portable one. */
  readonly crc?: Crc32;
}

/**
 * Opens a KDUMP file, or the image of a dump device, whose block 0 points to tables behind the data.
 *
 * Reads the headers and notes only.
 *
 * @throws FormatError, UnsupportedError: see `readKdumpHeader`.
 */
export function openKdump(source: ByteSource, options: KdumpOptions): Vmcore {
  return new KdumpVmcore(source, readKdumpHeader(source), options);
}

/** Descriptors looked at to find the first page that has bytes, and the last ones to find a file that was cut. */
const PROBE_DESCRIPTORS = 1024;

class KdumpVmcore implements Vmcore {
  readonly name: string;
  readonly format = 'kdump';
  readonly arch: ArchName;
  readonly littleEndian = true;
  readonly wordSize = 8;
  readonly pageSize: number;
  readonly maxMapnr: number;
  readonly header: VmcoreHeader;
  readonly notes: readonly Note[];
  readonly vmcoreinfo: Uint8Array | undefined;
  readonly segments: readonly VirtualSegment[] = [];
  readonly #source: ByteSource;
  /** The same bytes for page data, with read-ahead. */
  readonly #data: ByteSource;
  readonly #codecs: CodecTable;
  readonly #crc: Crc32;
  readonly #bitmap1: PageBitmap;
  readonly #bitmap2: PageBitmap;
  readonly #descriptors: DescriptorTable;
  readonly #incomplete: boolean;
  readonly #sharesZero: boolean;
  /** What a page of bitmap 1 without a descriptor is: filtered out, or, where no filter was at work, missing. */
  readonly #unstored: 'excluded' | 'hole';
  readonly #stored: Uint8Array;
  /** CRC-32 of a page of zeros. */
  readonly #zeroChecksum: number;
  #probed = false;
  /** Where the shared zero page lies: in block 2 as on a dump device, or before the data; NaN where it does not. */
  #zeroInHead = Number.NaN;
  #zeroInData = Number.NaN;
  #keepsProofs = false;
  #truncated: boolean | undefined;

  constructor(source: ByteSource, header: KdumpHeader, options: KdumpOptions) {
    this.name = source.name;
    this.pageSize = header.pageSize;
    this.maxMapnr = header.maxMapnr;
    this.notes = header.notes;
    this.vmcoreinfo = header.vmcoreinfo ?? findNote(header.notes, VMCOREINFO_OWNER)?.desc;
    const arch = archOfMachine(header.utsname.machine);
    this.arch = arch === 'unknown' ? archOfNotes(header.notes, true) : arch;
    this.header = headerFacts(header);
    this.#source = source;
    this.#data = readAhead(source);
    this.#codecs = options.codecs;
    this.#crc = options.crc ?? crc32;
    this.#bitmap1 = new PageBitmap(source, header.bitmap1Offset, header.maxMapnr);
    this.#bitmap2 = new PageBitmap(source, header.bitmap2Offset, header.maxMapnr);
    this.#descriptors = new DescriptorTable(source, header.descriptorsOffset);
    this.#incomplete = header.incomplete;
    this.#sharesZero = (header.dumpLevel & DUMP_LEVEL_ZERO) !== 0;
    this.#unstored = (header.dumpLevel & ~DUMP_LEVEL_ZERO) === 0 ? 'hole' : 'excluded';
    this.#stored = new Uint8Array(header.pageSize);
    this.#zeroChecksum = this.#crc(this.#stored);
  }

  /** Looked for when asked: a file that was cut does not say so in its header. */
  get state(): 'complete' | 'partial' {
    return this.partialReason === undefined ? 'complete' : 'partial';
  }

  get partialReason(): string | undefined {
    if (this.#incomplete) return 'its writer marked it incomplete';
    this.#truncated ??= this.#endsEarly();
    return this.#truncated ? 'the file ends before its last pages' : undefined;
  }

  presence(pfn: Pfn): PagePresence {
    if (pfn < 0 || pfn >= this.maxMapnr) return 'absent';
    if (this.#bitmap2.has(pfn)) return this.#load(pfn, this.#bitmap2.rank(pfn));
    return this.#bitmap1.has(pfn) ? this.#unstored : 'absent';
  }

  readPage(pfn: Pfn, target: Uint8Array): void {
    const presence = this.presence(pfn);
    if (presence === 'zero') {
      target.fill(0, 0, this.pageSize);
      return;
    }
    if (presence !== 'stored') throw this.#noData(pfn, presence);
    this.#readRestored(pfn, target.length === this.pageSize ? target : target.subarray(0, this.pageSize));
  }

  readStored(pfn: Pfn, target: Uint8Array): StoredPage {
    const presence = this.presence(pfn);
    const checksum = this.#proof(pfn);
    if (presence === 'zero') return { flags: 0, length: 0, ...(checksum === undefined ? {} : { checksum }) };
    if (presence !== 'stored') throw this.#noData(pfn, presence);
    const { length, flags, offset } = this.#descriptors;
    this.#checkDescriptor(pfn);
    readExactlyInto(this.#data, target.subarray(0, length), offset, `page ${hex(pfn)}`);
    return { flags, length, ...(checksum === undefined ? {} : { checksum }) };
  }

  *walkPages(start: Pfn = 0): Generator<PageRun> {
    let run: { start: number; end: number; presence: PageRun['presence'] } | undefined;
    let rank = this.#bitmap2.rank(start);
    for (let index = Math.floor(start / 32); index < this.#bitmap2.wordCount; index++) {
      const word2 = this.#bitmap2.word(index);
      const either = this.#bitmap1.word(index) | word2;
      if (either === 0) continue;
      const first = Math.max(start - 32 * index, 0);
      for (let bit = first; bit < 32; bit++) {
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

  countPages(): PageCounts {
    const byFlags = new Map<number, number>();
    let stored = 0;
    let zero = 0;
    let rank = 0;
    for (let pfn = this.#bitmap2.next(0); pfn < this.maxMapnr; pfn = this.#bitmap2.next(pfn + 1)) {
      const presence = this.#load(pfn, rank++);
      if (presence === 'hole') continue;
      stored++;
      if (presence === 'zero') zero++;
      else byFlags.set(this.#descriptors.flags, (byFlags.get(this.#descriptors.flags) ?? 0) + 1);
    }
    const byCodec = Object.fromEntries([...byFlags].map(([flags, count]) => [codecName(flags), count]));
    return { present: this.#bitmap1.count(), stored, zero, byCodec };
  }

  /** Makes the descriptor of a page of bitmap 2 the current one and says what it means. */
  #load(pfn: number, rank: number): 'stored' | 'zero' | 'hole' {
    const descriptors = this.#descriptors;
    if (!this.#probed) this.#probeFirst();
    if (!descriptors.load(rank)) return 'hole';
    const { offset, length } = descriptors;
    if (offset === 0 || (length <= this.pageSize && offset + length > this.#source.size)) return 'hole';
    const isShared = offset === this.#zeroInHead || offset === this.#zeroInData;
    return isShared && this.#isHonestZero(pfn) ? 'zero' : 'stored';
  }

  /** A zero page whose length, flags or proof says otherwise is left to the read, which refuses it. */
  #isHonestZero(pfn: number): boolean {
    const { length, flags, proofLow, proofHigh } = this.#descriptors;
    if (flags !== CODEC_FLAG.raw || length !== this.pageSize) return false;
    if (hasProof(pfn, proofLow, proofHigh)) return proofLow === this.#zeroChecksum;
    return !this.#keepsProofs || (proofLow === 0 && proofHigh === 0);
  }

  #readRestored(pfn: number, target: Uint8Array): void {
    this.#checkDescriptor(pfn);
    const { offset, length, flags, proofLow, proofHigh } = this.#descriptors;
    if (flags === CODEC_FLAG.raw) {
      readExactlyInto(this.#data, target, offset, `page ${hex(pfn)}`);
    } else {
      const stored = this.#stored.subarray(0, length);
      readExactlyInto(this.#data, stored, offset, `page ${hex(pfn)}`);
      this.#decompress(pfn, flags, stored, target);
    }
    if (!hasProof(pfn, proofLow, proofHigh)) return;
    const checksum = this.#crc(target);
    if (checksum === proofLow) return;
    throw new FormatError(
      'PAGE_CHECKSUM',
      `page ${hex(pfn)} of ${this.name}: checksum ${hex(checksum)} of the bytes at offset ${hex(offset)}, expected ${hex(proofLow)}`,
      { pfn, offset, checksum, expected: proofLow },
      'these are not the bytes that were captured; `diskdump check` lists the pages that still read',
    );
  }

  #decompress(pfn: number, flags: number, stored: Uint8Array, target: Uint8Array): void {
    const codec = this.#codecs.get(flags);
    if (codec === undefined) {
      throw new UnsupportedError(
        'PAGE_CODEC_MISSING',
        `page ${hex(pfn)} of ${this.name} is compressed with ${codecName(flags)}, which is not read yet`,
        { pfn, flags, codec: codecName(flags) },
        '`makedumpfile -c` rewrites the dump with zlib',
      );
    }
    try {
      codec.decompress(stored, target);
    } catch (error) {
      throw withContext(error, `page ${hex(pfn)} of ${this.name}`);
    }
  }

  /** Refuses a current descriptor that contradicts the format or belongs to another page. */
  #checkDescriptor(pfn: number): void {
    const { offset, length, flags, proofLow, proofHigh } = this.#descriptors;
    const lengthFits = flags === CODEC_FLAG.raw ? length === this.pageSize : length > 0 && length <= this.pageSize;
    if (!lengthFits || Number.isNaN(offset)) {
      throw new FormatError(
        'KDUMP_PAGE_LENGTH',
        `page descriptor of pfn ${hex(pfn)} of ${this.name} stores ${length} bytes at offset ${hex(offset)} with flags ${hex(flags)}, ` +
          `page size is ${this.pageSize}`,
        { pfn, offset, length, flags, pageSize: this.pageSize },
        'the descriptor table is damaged; `diskdump check` lists the pages that still read',
      );
    }
    if (!this.#keepsProofs || (proofLow === 0 && proofHigh === 0) || proofHigh === pfn % 2 ** 32) return;
    throw new FormatError(
      'KDUMP_PAGE_RANK',
      `page descriptor of pfn ${hex(pfn)} of ${this.name} belongs to pfn ${hex(proofHigh)}`,
      { pfn, found: proofHigh, offset },
      'bitmap and descriptor table do not fit together; `diskdump check` lists the pages that still read',
    );
  }

  /** CRC-32 of the page by the current descriptor, where it has one for this pfn. */
  #proof(pfn: number): number | undefined {
    const { proofLow, proofHigh } = this.#descriptors;
    return hasProof(pfn, proofLow, proofHigh) ? proofLow : undefined;
  }

  #noData(pfn: number, presence: Exclude<PagePresence, 'stored' | 'zero'>): NoDataError {
    const data = { pfn, dumpLevel: this.header.dumpLevel };
    const page = `page ${hex(pfn)} of ${this.name}`;
    switch (presence) {
      case 'excluded':
        return new NoDataError('PAGE_EXCLUDED', `${page} was excluded at dump level ${this.header.dumpLevel}`, data);
      case 'hole':
        return new NoDataError('PAGE_HOLE', `${page} is a hole: it was in memory, the dump does not have it`, data);
      case 'absent':
        return new NoDataError('PAGE_ABSENT', `${page}: no memory at that address`, data);
    }
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
    this.#keepsProofs = hasProof(pfn, proofLow, proofHigh);
    if (!this.#sharesZero) return;
    if (this.#isZeroAt(2 * this.pageSize)) this.#zeroInHead = 2 * this.pageSize;
    this.#zeroInData = [offset, offset - this.pageSize].find((at) => this.#isZeroAt(at)) ?? Number.NaN;
  }

  /** The first page whose descriptor names bytes; its descriptor becomes the current one. */
  #findFirstStored(): number | undefined {
    let pfn = this.#bitmap2.next(0);
    for (let rank = 0; rank < PROBE_DESCRIPTORS && pfn < this.maxMapnr; rank++, pfn = this.#bitmap2.next(pfn + 1)) {
      if (!this.#descriptors.load(rank)) return undefined;
      if (this.#descriptors.offset > 0) return pfn;
    }
    return undefined;
  }

  #isZeroAt(offset: number): boolean {
    if (!(offset >= 2 * this.pageSize) || offset + this.pageSize > this.#source.size) return false;
    const page = this.#stored;
    return this.#source.readInto(page, offset) === page.length && isZeroPage(page, 0, page.length);
  }

  /** Do the last pages lie beyond the end of the file? Reads bitmap 2 whole and a window of descriptors. */
  #endsEarly(): boolean {
    const count = this.#bitmap2.count();
    for (let rank = Math.max(0, count - PROBE_DESCRIPTORS); rank < count; rank++) {
      if (!this.#descriptors.load(rank)) return true;
      if (this.#descriptors.offset + this.#descriptors.length > this.#source.size) return true;
    }
    return false;
  }
}

function headerFacts(header: KdumpHeader): VmcoreHeader {
  return {
    utsname: header.utsname,
    dumpLevel: header.dumpLevel,
    cpuCount: header.cpuCount,
    version: header.version,
    ...(header.timestampSeconds === undefined ? {} : { timestampSeconds: header.timestampSeconds }),
    ...(header.physBase === undefined ? {} : { physBase: header.physBase }),
  };
}

/** PAGE_PROOF: the high half names the pfn; all zeros is what other writers leave. */
function hasProof(pfn: number, proofLow: number, proofHigh: number): boolean {
  return proofHigh === pfn % 2 ** 32 && (proofLow !== 0 || proofHigh !== 0);
}

function codecName(flags: number): string {
  const known = Object.entries(CODEC_FLAG).find(([, flag]) => flag === flags);
  return known?.[0] ?? `flags ${hex(flags)}`;
}
