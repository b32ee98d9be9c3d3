/** KDUMP files of makedumpfile, QEMU and diskdump, versions 1 to 6, opened as a {@link Vmcore}. */

import type { Pfn } from '../../base/address.ts';
import { type Crc32, crc32 } from '../../base/crc32.ts';
import { FormatError, NoDataError, UnsupportedError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import { CODEC_FLAG, type CodecTable } from '../../codec/codec.ts';
import { archOfMachine, archOfNotes } from '../arch.ts';
import { findNote, type Note, VMCOREINFO_OWNER } from '../notes.ts';
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
import { type KdumpHeader, readKdumpHeader } from './header.ts';
import { KdumpPageTable } from './page-table.ts';

/** What the pages of a dump are restored and checked with. */
export interface KdumpOptions {
  /** Codecs at hand; a page in another one is an `UnsupportedError` that names it. */
  readonly codecs: CodecTable;
  /** Default: the portable one. */
  readonly crc?: Crc32;
  /** Refuse every page whose descriptor does not prove it: what lies on a dump device always does. */
  readonly requireProofs?: boolean;
  /** Descriptors of the table, where something else than the bitmap tells. */
  readonly descriptorCount?: number;
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
  readonly #table: KdumpPageTable;
  /** Page data, with read-ahead. */
  readonly #data: ByteSource;
  readonly #codecs: CodecTable;
  readonly #crc: Crc32;
  readonly #incomplete: boolean;
  /** One page as stored. */
  readonly #stored: Uint8Array;
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
    this.#data = readAhead(source);
    this.#codecs = options.codecs;
    this.#crc = options.crc ?? crc32;
    this.#incomplete = header.incomplete;
    this.#stored = new Uint8Array(header.pageSize);
    this.#table = new KdumpPageTable(source, header, this.#crc(this.#stored), options);
  }

  /** Looked for when asked: a file that was cut does not say so in its header. */
  get state(): 'complete' | 'partial' {
    return this.partialReason === undefined ? 'complete' : 'partial';
  }

  get partialReason(): string | undefined {
    if (this.#incomplete) return 'its writer marked it incomplete';
    this.#truncated ??= this.#table.endsEarly();
    return this.#truncated ? 'the file ends before its last pages' : undefined;
  }

  presence(pfn: Pfn): PagePresence {
    return this.#table.presence(pfn);
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
    if (presence !== 'stored' && presence !== 'zero') throw this.#noData(pfn, presence);
    const checksum = this.#table.proof(pfn);
    const proof = checksum === undefined ? {} : { checksum };
    if (presence === 'zero') return { flags: CODEC_FLAG.raw, length: 0, ...proof };
    this.#table.check(pfn);
    const { length, flags, offset } = this.#table.descriptor;
    readExactlyInto(this.#data, target.subarray(0, length), offset, `page ${hex(pfn)}`);
    return { flags, length, ...proof };
  }

  walkPages(start: Pfn = 0): Iterable<PageRun> {
    return this.#table.walk(start);
  }

  countPages(): PageCounts {
    return this.#table.count(codecName);
  }

  #readRestored(pfn: number, target: Uint8Array): void {
    this.#table.check(pfn);
    const { offset, length, flags } = this.#table.descriptor;
    if (flags === CODEC_FLAG.raw) {
      readExactlyInto(this.#data, target, offset, `page ${hex(pfn)}`);
    } else {
      const stored = this.#stored.subarray(0, length);
      readExactlyInto(this.#data, stored, offset, `page ${hex(pfn)}`);
      this.#decompress(pfn, flags, stored, target);
    }
    this.#prove(pfn, offset, target);
  }

  #prove(pfn: number, offset: number, page: Uint8Array): void {
    const expected = this.#table.proof(pfn);
    if (expected === undefined) return;
    const checksum = this.#crc(page);
    if (checksum === expected) return;
    throw new FormatError(
      'PAGE_CHECKSUM',
      `page ${hex(pfn)} of ${this.name}: checksum ${hex(checksum)} of the bytes at offset ${hex(offset)}, expected ${hex(expected)}`,
      { pfn, offset, checksum, expected },
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

function codecName(flags: number): string {
  const known = Object.entries(CODEC_FLAG).find(([, flag]) => flag === flags);
  return known?.[0] ?? `flags ${hex(flags)}`;
}
