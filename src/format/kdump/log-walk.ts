/** The walk over the records behind a known good one, in order; the state machine of recovery. */

import { roundUp } from '../../base/cursor.ts';
import { FormatError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { codecTable } from '../../codec/codec.ts';
import { PAGE_DESC } from './layout.ts';
import { ChunkEntries } from './log-entries.ts';
import { findGenerationBehind, type LogGap } from './log-gap.ts';
import { IndexRefs } from './log-generation.ts';
import {
  checksumOf,
  type FoundGeneration,
  type FoundStart,
  proveGeneration,
  type RecordReader,
  readGeneration,
} from './log-io.ts';
import { collectIndexes, findFarRecord } from './log-jump.ts';
import { CODEC_ZERO, GEOMETRY, LOG_LIMITS, RECORD } from './log-layout.ts';
import { LooseEntries } from './log-loose.ts';
import type { LogDamage, LogState, PassProgress, RecoverOptions } from './log-reader.ts';
import type { RecordHeader } from './log-records.ts';
import { restorePage } from './page-proof.ts';

/** Stretches of damage that are listed. */
const DAMAGE_MAX = 256;
/** Records between two calls of `served`. */
const SERVE_EVERY = 64;

type WalkResult = Omit<LogState, 'dumpUuid' | 'part' | 'start' | 'startProblem' | 'startUnreadable'>;

interface MutableProgress {
  stored: number;
  indexes: number;
  lastPfn: number | undefined;
}

/** Walks from one good record on, and remembers what counts. */
export class LogWalk {
  generation: FoundGeneration | undefined;
  #foundBy: 'block0' | 'walk' | undefined;
  readonly #reader: RecordReader;
  readonly #start: FoundStart | undefined;
  readonly #options: RecoverOptions;
  readonly #damage: LogDamage[];
  readonly #loose = new LooseEntries();
  readonly #passes: MutableProgress[] = [];
  #indexes = new IndexRefs();
  #indexesInGeneration = 0;
  #chunksBehind = 0;
  #pagesBehind = 0;
  #last: RecordHeader | undefined;
  #end: number = GEOMETRY.logStart;
  #previousGeneration = 0;
  #previousIndex = 0;
  #endReason: string | undefined;
  #pageSize: number = GEOMETRY.recordAlignMin;
  #alignment: number = GEOMETRY.recordAlignMin;
  #page = new Uint8Array(0);
  #visited = 0;
  /** Records taken since the walk began. */
  #walked = 0;
  #jumped = false;
  #stop: { readonly offset: number; readonly problem: string } | undefined;

  constructor(
    reader: RecordReader,
    start: FoundStart | undefined,
    options: RecoverOptions,
    damage: readonly LogDamage[],
  ) {
    this.#reader = reader;
    this.#start = start;
    this.#options = options;
    this.#damage = [...damage];
  }

  /** The walk goes on behind a whole generation: what it covers is known from its lists. */
  beginAt(generation: FoundGeneration, foundBy: 'block0' | 'walk'): void {
    const { header, record } = generation;
    this.generation = generation;
    this.#foundBy = foundBy;
    // What the walk adds must not grow the generation's own directory: it may be walked again.
    this.#indexes = record.indexes.clone();
    this.#indexesInGeneration = record.indexes.length;
    this.#loose.clear();
    this.#chunksBehind = 0;
    this.#pagesBehind = 0;
    this.#jumped = false;
    this.#passes.length = 0;
    for (const row of record.passes)
      this.#passes.push({ stored: row.stored, indexes: row.indexes, lastPfn: undefined });
    for (let i = 0; i < record.indexes.length; i++) {
      const pass = this.#progress(record.indexes.pass(i));
      pass.lastPfn = Math.max(pass.lastPfn ?? 0, record.indexes.lastPfn(i));
    }
    this.#accept(header);
    this.#previousGeneration = header.offset;
    this.#previousIndex = record.indexes.length === 0 ? 0 : record.indexes.offset(record.indexes.length - 1);
  }

  /** The walk goes on behind the start record. Without either the start record counts as any unreadable header. */
  beginAtStart(start: FoundStart): void {
    this.#accept(start.header);
    for (const _ of start.record.passes) this.#passes.push({ stored: 0, indexes: 0, lastPfn: undefined });
  }

  /** Takes every record that counts; then looks behind the gap for a whole generation, and goes on from there. */
  run(): void {
    for (;;) {
      this.#takeRecords();
      if (this.generation?.header.last || this.#stop) return;
      const gap = this.#gap();
      const generation = findGenerationBehind(this.#reader, gap, () => this.#serve());
      if (!generation) return;
      this.#addDamage(gap.offset, generation.header.offset, this.#endReason ?? 'unreadable records');
      this.beginAt(generation, 'walk');
      if (generation.header.last) return;
    }
  }

  /**
   * Proves the pages of the chunks that no index covers, newest first.
   *
   * @returns the offset of the oldest chunk that is not what its lists say; the log ends before it.
   */
  proveLoose(): { readonly offset: number; readonly problem: string } | undefined {
    let bad: { offset: number; problem: string } | undefined;
    let left = this.#loose.count;
    for (let offset = this.#last?.offset ?? 0; left > 0 && offset > GEOMETRY.logStart; ) {
      this.#serve();
      const probe = this.#reader.probe(offset);
      if (probe.found !== 'record') return { offset, problem: 'it can no longer be read' };
      const { header } = probe;
      if (header.kind === 'chunk' && this.#loose.countOf(header.pass) > 0) {
        left -= header.entryCount;
        const entries = this.#readProved(header);
        if (typeof entries === 'string') bad = { offset, problem: entries };
      }
      offset = header.previousRecord;
    }
    return bad;
  }

  /** Ends the walk before the record at `offset`. */
  stopAt(offset: number, problem: string): void {
    this.#stop = { offset, problem };
  }

  result(): WalkResult {
    return {
      generation: this.generation,
      generationFoundBy: this.#foundBy,
      indexes: this.#indexes,
      indexesInGeneration: this.#indexesInGeneration,
      loose: this.#loose,
      passes: this.#passes as readonly PassProgress[],
      chunksBehind: this.#chunksBehind,
      pagesBehind: this.#pagesBehind,
      last: this.#last,
      end: this.#end,
      previousGeneration: this.#previousGeneration,
      previousIndex: this.#previousIndex,
      endReason: this.generation?.header.last ? undefined : this.#endReason,
      jumped: this.#jumped,
      damage: this.#damage,
      pageSize: this.#pageSize,
      alignment: this.#alignment,
    };
  }

  /** Contiguous records: each follows the one before it in place and sequence, and proves itself. */
  #takeRecords(): void {
    for (;;) {
      this.#serve();
      if (this.#stop && this.#end >= this.#stop.offset) {
        this.#endReason = `chunk at ${hex(this.#end)}: ${this.#stop.problem}`;
        return;
      }
      const probe = this.#reader.probe(this.#end);
      if (probe.found !== 'record') {
        this.#endReason = probe.found === 'foreign' ? 'a record of another dump' : probe.why;
        return;
      }
      const problem = this.#followProblem(probe.header) ?? this.#take(probe.header);
      if (problem !== undefined) {
        this.#endReason = `${probe.header.kind} at ${hex(probe.header.offset)}: ${problem}`;
        return;
      }
      if (probe.header.last) return;
      if (++this.#walked === this.#options.jumpAfter) this.#jump(probe.header);
    }
  }

  /**
   * Looks only at the index records of what lies ahead. Their lists are proved; the chunks that they cover are not looked
   * at, and a page among them that is not there shows when it is read.
   */
  #jump(from: RecordHeader): void {
    const far = findFarRecord(this.#reader, from);
    if (!far || far.previousGeneration > this.#previousGeneration) return;
    for (const header of collectIndexes(this.#reader, from, far) ?? []) {
      const loose = this.#loose.countOf(header.pass);
      const pass = this.#progress(header.pass);
      const first = this.#loose.span(header.pass)?.first ?? (pass.lastPfn ?? -1) + 1;
      if (header.entryCount < loose || (header.firstPfn as number) < first || this.#addIndex(header) !== undefined)
        return;
      pass.stored += header.entryCount - loose;
      pass.lastPfn = header.lastPfn;
      this.#pagesBehind += header.entryCount - loose;
      this.#jumped = true;
    }
  }

  /** Proves the lists of an index, and takes it. */
  #addIndex(header: RecordHeader): string | undefined {
    const found = checksumOf(this.#reader, header.offset + RECORD.size, header.listLength);
    if (typeof found === 'string') return found;
    if (found !== header.listChecksum) return 'the checksum of its lists is wrong';
    if (this.#indexes.length === LOG_LIMITS.indexRefs) return 'too many indexes';
    const { offset, firstPfn, lastPfn, entryCount, pass } = header;
    this.#indexes.push(offset, firstPfn as number, lastPfn as number, entryCount, pass);
    this.#progress(pass).indexes++;
    this.#loose.dropPass(pass);
    this.#previousIndex = offset;
    this.#accept(header);
    return undefined;
  }

  #followProblem(header: RecordHeader): string | undefined {
    const last = this.#last;
    if (!last) return header.kind === 'start' ? 'its lists are damaged' : 'no good record before it';
    if (header.sequence !== last.sequence + 1)
      return `sequence ${header.sequence}, expected ${last.sequence + 1}: left over from before a restart`;
    if (header.previousRecord !== last.offset) return 'it follows another record';
    if (header.pageSize !== this.#pageSize || header.alignment !== this.#alignment) return 'it has another page size';
    if ((header.lastPfn ?? 0) >= (this.#start?.record.maxMapnr ?? Number.POSITIVE_INFINITY))
      return 'a page past the end of memory';
    return undefined;
  }

  #take(header: RecordHeader): string | undefined {
    switch (header.kind) {
      case 'start':
        return 'a second start record';
      case 'chunk':
        return this.#takeChunk(header);
      case 'index':
        return this.#takeIndex(header);
      case 'generation':
        return this.#takeGeneration(header);
    }
  }

  #takeChunk(header: RecordHeader): string | undefined {
    const pass = this.#progress(header.pass);
    if (pass.lastPfn !== undefined && (header.firstPfn as number) <= pass.lastPfn)
      return 'its pages go back in its pass';
    const chunk = this.#options.prove === 'pages' ? this.#readProved(header) : this.#readLists(header);
    if (typeof chunk === 'string') return chunk;
    if (!this.#loose.addChunk(chunk, header.pass, header.offset, header.pageSize)) return 'no index for too many pages';
    pass.stored += chunk.count;
    pass.lastPfn = header.lastPfn;
    this.#chunksBehind++;
    this.#pagesBehind += chunk.count;
    this.#accept(header);
    return undefined;
  }

  #takeIndex(header: RecordHeader): string | undefined {
    const span = this.#loose.span(header.pass);
    const count = this.#loose.countOf(header.pass);
    if (!span || count !== header.entryCount || span.first !== header.firstPfn || span.last !== header.lastPfn)
      return `it covers ${header.entryCount} pages, ${count} wait for it`;
    return this.#addIndex(header);
  }

  #takeGeneration(header: RecordHeader): string | undefined {
    const generation = readGeneration(this.#reader, header);
    if (typeof generation === 'string') return generation;
    const problem = proveGeneration(this.#reader, generation);
    if (problem !== undefined) return problem;
    this.beginAt(generation, 'walk');
    return undefined;
  }

  #readLists(header: RecordHeader): ChunkEntries | string {
    const lists = this.#reader.lists(header);
    return typeof lists === 'string' ? lists : readEntries(header, lists);
  }

  /** Reads a chunk whole and proves every page in it. */
  #readProved(header: RecordHeader): ChunkEntries | string {
    const whole = this.#reader.whole(header);
    if (typeof whole === 'string') return whole;
    const lists = this.#reader.proveLists(header, whole);
    if (typeof lists === 'string') return lists;
    const entries = readEntries(header, lists);
    if (typeof entries === 'string') return entries;
    const { crc } = this.#reader.scope;
    const prover = { codecs: this.#options.codecs ?? codecTable([]), crc, pageSize: header.pageSize };
    if (this.#page.length !== header.pageSize) this.#page = new Uint8Array(header.pageSize);
    for (let i = 0; i < entries.count; i++) {
      const problem = this.#provePage(prover, whole, entries, i);
      if (problem !== undefined) return problem;
    }
    return entries;
  }

  #provePage(
    prover: Parameters<typeof restorePage>[0],
    record: Uint8Array,
    entries: ChunkEntries,
    i: number,
  ): string | undefined {
    const flags = entries.codec(i);
    const claim = { pfn: entries.pfn(i), flags, checksum: entries.checksum(i) };
    if (flags === CODEC_ZERO) {
      this.#page.fill(0);
      return prover.crc(this.#page) === claim.checksum ? undefined : `zero page ${hex(claim.pfn)} has another checksum`;
    }
    try {
      restorePage(prover, record.subarray(entries.offset(i), entries.offset(i) + entries.length(i)), claim, this.#page);
      return undefined;
    } catch (error) {
      if (error instanceof FormatError) return error.message;
      throw error;
    }
  }

  #accept(header: RecordHeader): void {
    this.#last = header;
    this.#end = header.offset + header.length;
    this.#pageSize = header.pageSize;
    this.#alignment = header.alignment;
    this.#endReason = undefined;
  }

  #progress(pass: number): MutableProgress {
    while (this.#passes.length <= pass) this.#passes.push({ stored: 0, indexes: 0, lastPfn: undefined });
    return this.#passes[pass] as MutableProgress;
  }

  /** The place where the walk stands; a generation there would hold bitmaps and a descriptor for every page so far. */
  #gap(): LogGap {
    const record = this.generation?.record;
    const maxMapnr = this.#start?.record.maxMapnr ?? (record ? record.bitmapBytes * 8 : 0);
    const bitmap = roundUp(Math.ceil(maxMapnr / 8), this.#alignment);
    const stored = this.#passes.reduce((sum, pass) => sum + pass.stored, 0);
    return {
      offset: this.#end,
      sequence: this.#last?.sequence ?? 0,
      bodyBytes: 2 * bitmap + PAGE_DESC.size * stored,
      alignment: this.#alignment,
    };
  }

  #addDamage(start: number, end: number, what: string): void {
    if (this.#damage.length < DAMAGE_MAX) this.#damage.push({ start, end, what });
  }

  #serve(): void {
    if (++this.#visited % SERVE_EVERY === 0) this.#options.served?.();
  }
}

function readEntries(header: RecordHeader, lists: Uint8Array): ChunkEntries | string {
  try {
    return new ChunkEntries(header, lists);
  } catch (error) {
    if (error instanceof FormatError) return error.message;
    throw error;
  }
}
