/** The pages of a dump device: a KDUMP file for what its newest generation covers, index entries for what lies behind. */

import type { Pfn } from '../../base/address.ts';
import type { Crc32 } from '../../base/crc32.ts';
import { FormatError, NoDataError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { countRanges, findRange, type Range } from '../../base/ranges.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import { CODEC_FLAG, type CodecTable } from '../../codec/codec.ts';
import { archOfMachine } from '../arch.ts';
import { type Note, walkNotes } from '../notes.ts';
import { readAhead } from '../read-ahead.ts';
import { EMPTY_UTSNAME } from '../utsname.ts';
import type {
  ArchName,
  PageCounts,
  PagePresence,
  PageRun,
  PassState,
  StoredPage,
  VirtualSegment,
  VmcoreHeader,
} from '../vmcore.ts';
import { NewerPages, type PageEntry } from './device-newer.ts';
import type { DeviceDump } from './device-vmcore.ts';
import type { Label } from './label.ts';
import { DUMP_LEVEL_ZERO, encodeKdumpHeader, encodeSubHeader, KDUMP_VERSION } from './layout.ts';
import { GEOMETRY, MACHINE_KIND } from './log-layout.ts';
import type { EntryMerge } from './log-merge.ts';
import type { LogState } from './log-reader.ts';
import type { StartRecord } from './log-start.ts';
import { type PageProver, restorePage } from './page-proof.ts';
import { openKdump } from './reader.ts';
import type { RunRecord } from './run-record.ts';

/** Everything that opening has found out. */
export interface DevicePagesPlan {
  readonly source: ByteSource;
  readonly label: Label;
  readonly log: LogState;
  readonly runRecord: RunRecord | undefined;
  readonly partialReason: string | undefined;
  readonly passes: readonly PassState[];
  readonly codecs: CodecTable;
  readonly crc: Crc32;
}

/** See {@link DeviceDump}. */
export class DeviceVmcore implements DeviceDump {
  readonly name: string;
  readonly format = 'kdump';
  readonly state: 'complete' | 'partial';
  declare readonly partialReason?: string;
  readonly arch: ArchName;
  readonly littleEndian = true;
  readonly wordSize = 8;
  readonly pageSize: number;
  readonly maxMapnr: number;
  readonly header: VmcoreHeader;
  readonly notes: readonly Note[];
  readonly vmcoreinfo: Uint8Array | undefined;
  readonly segments: readonly VirtualSegment[] = [];
  readonly label: Label;
  readonly dumpUuid: Uint8Array;
  readonly part: number;
  readonly start: StartRecord | undefined;
  readonly runRecord: RunRecord | undefined;
  readonly log: LogState;
  /** What the newest generation covers. */
  readonly #covered: ReturnType<typeof openKdump> | undefined;
  readonly #newer: NewerPages;
  readonly #data: ByteSource;
  readonly #plan: DevicePagesPlan;
  readonly #zeroChecksum: number;
  readonly #prover: PageProver;
  readonly #stored: Uint8Array;

  constructor(plan: DevicePagesPlan) {
    const { source, log, label } = plan;
    const start = log.start?.record;
    this.#plan = plan;
    this.name = source.name;
    this.state = plan.partialReason === undefined ? 'complete' : 'partial';
    if (plan.partialReason !== undefined) this.partialReason = plan.partialReason;
    this.label = label;
    this.dumpUuid = log.dumpUuid;
    this.part = log.part;
    this.start = start;
    this.runRecord = plan.runRecord;
    this.log = log;
    this.pageSize = log.pageSize;
    this.maxMapnr = start?.maxMapnr ?? bitmapBits(log);
    this.arch = archOfMachine(start?.utsname.machine ?? '');
    this.notes = start ? walkNotes(start.notes) : [];
    this.vmcoreinfo = start && readVmcoreinfo(start);
    this.header = headerFacts(start, plan.passes);
    this.#covered = openCovered(plan, this.maxMapnr);
    this.#newer = new NewerPages(source, log, plan.crc);
    this.#data = readAhead(source);
    this.#zeroChecksum = plan.crc(new Uint8Array(log.pageSize));
    this.#prover = { codecs: plan.codecs, crc: plan.crc, pageSize: log.pageSize };
    this.#stored = new Uint8Array(log.pageSize);
  }

  presence(pfn: Pfn): PagePresence {
    const covered = this.#coveredPresence(pfn);
    if (covered === 'stored' || covered === 'zero' || this.#newer.isEmpty || covered === 'absent') return covered;
    const entry = this.#newer.find(pfn);
    return entry ? this.#entryPresence(pfn, entry) : covered;
  }

  readPage(pfn: Pfn, target: Uint8Array): void {
    const entry = this.#newerEntry(pfn);
    if (!entry) {
      this.#readCovered(pfn, target);
      return;
    }
    const page = target.length === this.pageSize ? target : target.subarray(0, this.pageSize);
    if (this.#entryPresence(pfn, entry) === 'zero') {
      page.fill(0);
      return;
    }
    const stored = this.#readEntry(pfn, entry, this.#stored);
    try {
      restorePage(this.#prover, stored, { pfn, ...entry }, page);
    } catch (error) {
      throw withContext(error, this.name);
    }
  }

  readStored(pfn: Pfn, target: Uint8Array): StoredPage {
    const entry = this.#newerEntry(pfn);
    if (!entry) {
      if (!this.#covered) throw this.#noData(pfn);
      return this.#covered.readStored(pfn, target);
    }
    if (this.#entryPresence(pfn, entry) === 'zero') return { flags: 0, length: 0, checksum: entry.checksum };
    this.#readEntry(pfn, entry, target);
    return { flags: entry.flags, length: entry.storedLength, checksum: entry.checksum };
  }

  *walkPages(start: Pfn = 0): Generator<PageRun> {
    const join = new RunJoiner();
    const newer = this.#newer.merge(start);
    let more = newer.next();
    for (const run of this.#coveredRuns(start)) {
      let at = run.start;
      const taken = run.presence === 'stored' || run.presence === 'zero';
      for (; !taken && more && newer.pfn < run.end; more = newer.next()) {
        if (newer.pfn < at) continue;
        const before = join.add(at, newer.pfn, run.presence);
        if (before) yield before;
        const ended = join.add(newer.pfn, newer.pfn + 1, this.#mergedPresence(newer));
        if (ended) yield ended;
        at = newer.pfn + 1;
      }
      const ended = join.add(at, run.end, run.presence);
      if (ended) yield ended;
    }
    const last = join.end();
    if (last) yield last;
  }

  countPages(): PageCounts {
    const covered = this.#covered?.countPages() ?? {
      present: countRanges(this.#ranges()),
      stored: 0,
      zero: 0,
      byCodec: {},
    };
    let { stored, zero } = covered;
    const byFlags = new Map<number, number>();
    const newer = this.#newer.merge(0);
    while (newer.next()) {
      const presence = this.#mergedPresence(newer);
      if (presence === 'hole') continue;
      stored++;
      if (presence === 'zero') zero++;
      else byFlags.set(newer.flags, (byFlags.get(newer.flags) ?? 0) + 1);
    }
    return { present: covered.present, stored, zero, byCodec: addCodecs(covered.byCodec, byFlags) };
  }

  #ranges(): readonly Range[] {
    return this.start?.ranges ?? [];
  }

  #coveredPresence(pfn: number): PagePresence {
    if (this.#covered) return this.#covered.presence(pfn);
    return findRange(this.#ranges(), pfn) < 0 ? 'absent' : 'hole';
  }

  *#coveredRuns(start: number): Generator<PageRun> {
    if (this.#covered) {
      yield* this.#covered.walkPages(start);
      return;
    }
    for (const range of this.#ranges())
      if (range.end > start) yield { start: Math.max(start, range.start), end: range.end, presence: 'hole' };
  }

  /** The entry of a page that only the records behind the generation hold. */
  #newerEntry(pfn: number): PageEntry | undefined {
    if (this.#newer.isEmpty) return undefined;
    const covered = this.#coveredPresence(pfn);
    return covered === 'hole' || covered === 'excluded' ? this.#newer.find(pfn) : undefined;
  }

  #entryPresence(pfn: number, entry: PageEntry): 'stored' | 'zero' | 'hole' {
    const { fileOffset, storedLength, flags, checksum, proofPfn } = entry;
    return this.#presenceOf(pfn, fileOffset, storedLength, flags, checksum, proofPfn);
  }

  #mergedPresence(newer: EntryMerge): 'stored' | 'zero' | 'hole' {
    const { pfn, fileOffset, storedLength, flags, checksum, proofPfn } = newer;
    return this.#presenceOf(pfn, fileOffset, storedLength, flags, checksum, proofPfn);
  }

  /** A descriptor of another page, or one that leads out of the log, gives nothing. */
  #presenceOf(
    pfn: number,
    fileOffset: number,
    storedLength: number,
    flags: number,
    checksum: number,
    proofPfn: number,
  ): 'stored' | 'zero' | 'hole' {
    if (proofPfn !== pfn % 2 ** 32) return 'hole';
    const shared = fileOffset === 2 * this.pageSize && flags === CODEC_FLAG.raw && storedLength === this.pageSize;
    if (shared) return checksum === this.#zeroChecksum ? 'zero' : 'hole';
    const inLog = fileOffset >= GEOMETRY.logStart && fileOffset + storedLength <= this.#plan.source.size;
    return inLog && storedLength > 0 && storedLength <= this.pageSize ? 'stored' : 'hole';
  }

  #readCovered(pfn: number, target: Uint8Array): void {
    if (!this.#covered) throw this.#noData(pfn);
    this.#covered.readPage(pfn, target);
  }

  #readEntry(pfn: number, entry: PageEntry, target: Uint8Array): Uint8Array {
    if (this.#entryPresence(pfn, entry) !== 'stored')
      throw new FormatError(
        'PAGE_ENTRY',
        `page ${hex(pfn)} of ${this.name}: its index entry names ${entry.storedLength} bytes at offset ${hex(entry.fileOffset)}`,
        { pfn, offset: entry.fileOffset },
      );
    const stored = target.subarray(0, entry.storedLength);
    readExactlyInto(this.#data, stored, entry.fileOffset, `page ${hex(pfn)}`);
    return stored;
  }

  #noData(pfn: number): NoDataError {
    const page = `page ${hex(pfn)} of ${this.name}`;
    return findRange(this.#ranges(), pfn) < 0
      ? new NoDataError('PAGE_ABSENT', `${page}: no memory at that address`, { pfn })
      : new NoDataError('PAGE_HOLE', `${page} is a hole: it was in memory, the dump does not have it`, { pfn });
  }
}

/** Joins neighbouring runs of one presence; gives a run when it is known to have ended. */
class RunJoiner {
  #start = 0;
  #end = 0;
  #presence: PageRun['presence'] = 'hole';

  add(start: number, end: number, presence: PageRun['presence']): PageRun | undefined {
    if (start >= end) return undefined;
    if (start === this.#end && presence === this.#presence && this.#end > this.#start) {
      this.#end = end;
      return undefined;
    }
    const ended = this.end();
    this.#start = start;
    this.#end = end;
    this.#presence = presence;
    return ended;
  }

  end(): PageRun | undefined {
    if (this.#end === this.#start) return undefined;
    const run = { start: this.#start, end: this.#end, presence: this.#presence };
    this.#start = this.#end;
    return run;
  }
}

function addCodecs(byCodec: Readonly<Record<string, number>>, byFlags: ReadonlyMap<number, number>) {
  const sum = new Map(Object.entries(byCodec));
  for (const [flags, count] of byFlags) sum.set(codecName(flags), (sum.get(codecName(flags)) ?? 0) + count);
  return Object.fromEntries(sum);
}

function bitmapBits({ generation }: LogState): number {
  return generation ? generation.record.bitmapBytes * 8 : 0;
}

/**
 * The newest generation as the KDUMP file that other tools see, whatever block 0 says: head and sub header are made from the
 * records and laid over the first two blocks.
 */
function openCovered(plan: DevicePagesPlan, maxMapnr: number): ReturnType<typeof openKdump> | undefined {
  const { source, log, codecs, crc } = plan;
  const { generation, pageSize } = log;
  if (!generation) return undefined;
  const start = log.start?.record;
  const head = new Uint8Array(2 * pageSize);
  encodeKdumpHeader(head.subarray(0, pageSize), {
    utsname: start?.utsname ?? EMPTY_UTSNAME,
    timestampSeconds: 0,
    status: 0,
    blockSize: pageSize,
    subHdrSize: generation.record.bitmap1Offset / pageSize - 1,
    bitmapBlocks: (2 * generation.record.bitmapBytes) / pageSize,
    maxMapnr,
    cpuCount: start?.cpuCount ?? 1,
  });
  encodeSubHeader(head.subarray(pageSize), {
    physBase: start?.physBase ?? 0,
    // Pages that are not there were left out by a filter only where everything else is.
    dumpLevel: generation.header.last ? (start?.dumpLevel ?? DUMP_LEVEL_ZERO) : DUMP_LEVEL_ZERO,
    notesOffset: 0,
    notesLength: 0,
    vmcoreinfoOffset: 0,
    vmcoreinfoLength: 0,
    maxMapnr,
  });
  return openKdump(overlayHead(source, head), {
    codecs,
    crc,
    requireProofs: true,
    descriptorCount: generation.record.descriptorCount,
  });
}

/** The source with its first bytes replaced. */
function overlayHead(source: ByteSource, head: Uint8Array): ByteSource {
  return {
    name: source.name,
    size: source.size,
    readInto(target, offset) {
      // What the head covers is not read: a sector there may be bad, and nothing would be lost by that.
      const covered = Math.max(0, Math.min(head.length - offset, target.length));
      if (covered > 0) target.set(head.subarray(offset, offset + covered));
      return covered === target.length
        ? covered
        : covered + source.readInto(target.subarray(covered), offset + covered);
    },
    ...(source.dataFrom && {
      dataFrom: (offset: number) => (offset < head.length ? offset : (source.dataFrom?.(offset) as number)),
    }),
  };
}

function readVmcoreinfo({ notes, vmcoreinfo }: StartRecord): Uint8Array | undefined {
  if (vmcoreinfo.length === 0) return undefined;
  return notes.subarray(vmcoreinfo.offset, vmcoreinfo.offset + vmcoreinfo.length);
}

function headerFacts(start: StartRecord | undefined, passes: readonly PassState[]): VmcoreHeader {
  if (!start) return { version: KDUMP_VERSION, passes };
  const seconds = start.crashSeconds || (start.machineKind === MACHINE_KIND.file ? 0 : Math.floor(start.wallMs / 1000));
  return {
    utsname: start.utsname,
    ...(seconds > 0 && { timestampSeconds: seconds }),
    dumpLevel: start.dumpLevel,
    physBase: start.physBase,
    cpuCount: start.cpuCount,
    version: KDUMP_VERSION,
    passes,
  };
}

function codecName(flags: number): string {
  return Object.entries(CODEC_FLAG).find(([, flag]) => flag === flags)?.[0] ?? `flags ${hex(flags)}`;
}
