/** The append-only writer of a dump device's log: start record, chunks, index records, generations, block 0. */

import { roundDown, roundUp } from '../../base/cursor.ts';
import { writeDevice } from '../../base/device.ts';
import { assert } from '../../base/errors.ts';
import type { IndexEntries } from './log-entries.ts';
import { bitmapLength, encodeGenerationHead, type GenerationRecord } from './log-generation.ts';
import { GEOMETRY, INDEX_ENTRY, NO_PASS, RECORD } from './log-layout.ts';
import {
  countIndexes,
  type GenerationKind,
  type LogPosition,
  type LogWriterOptions,
  type PassCount,
} from './log-parameters.ts';
import { encodeRecordHeader, plainHeader, type RecordHeader, type RecordKind, recordAlignment } from './log-records.ts';
import { type GenerationSize, LogRoom } from './log-room.ts';
import { encodeStartRecord, startNotesOffset } from './log-start.ts';
import { type BodyChecksums, BodyWriter, IndexTable } from './log-writer-body.ts';
import { ChunkBuffer, type PlacedPage } from './log-writer-chunk.ts';
import { KdumpFront } from './log-writer-front.ts';
import { IndexBuffer } from './log-writer-index.ts';

/**
 * Appends one dump to one device.
 *
 * The order is: {@link begin} (or {@link resume}), then for each pass {@link openPass}, chunks, {@link closePass}; a chunk is
 * {@link openChunk}, pages while there is {@link roomFor} them, {@link closeChunk}. {@link writeGeneration} makes visible what was
 * appended; the last call is one of it. Everything of a size is allocated by the constructor.
 *
 * Room for the closing index record and generation is always kept: `openChunk` says no before it could be touched.
 * Every method throws a `DeviceError` when the device fails; the writer is then of no further use.
 */
export class LogWriter {
  readonly passes: readonly PassCount[];
  readonly alignment: number;
  /** Pages stored so far, zero pages included. */
  stored = 0;
  /** Zero pages among them. */
  zeros = 0;
  /** Generations written by this writer. */
  generations = 0;
  readonly #options: LogWriterOptions;
  readonly #bitmapBytes: number;
  readonly #room: LogRoom;
  readonly #chunk: ChunkBuffer;
  readonly #body: BodyWriter;
  readonly #indexes: IndexTable;
  /** The index record that is growing. */
  readonly #index: IndexBuffer;
  readonly #front: KdumpFront;
  readonly #planned: number;
  #pass = 0;
  #end: number = GEOMETRY.logStart;
  #sequence = 0;
  #previousRecord = 0;
  #previousGeneration = 0;
  #previousIndex = 0;
  #generationBytes = 0;
  /** Stored pages of the newest generation, −1 before the first. */
  #shown = -1;

  constructor(options: LogWriterOptions) {
    const { device, pageSize, parameters, start, crc } = options;
    this.#options = options;
    this.alignment = recordAlignment(pageSize, device.blockSize);
    this.passes = start.passes.map((row) => ({ ...row }));
    // Bitmaps are whole device blocks too, so that each can be streamed to its own place.
    this.#bitmapBytes = roundUp(bitmapLength(start.maxMapnr, pageSize), device.blockSize);
    this.#room = new LogRoom({
      alignment: this.alignment,
      bitmapBytes: this.#bitmapBytes,
      passCount: start.passes.length,
      runRecordReserve: parameters.runRecordReserve,
    });
    const lends = device.lend !== undefined && device.maxTransfer >= parameters.chunkBytes;
    this.#chunk = new ChunkBuffer({
      ...parameters,
      alignment: this.alignment,
      pageSize,
      ...(lends && { lend: () => device.lend?.() as Uint8Array }),
    });
    this.#planned = start.passes.reduce((sum, row) => sum + row.planned, 0);
    this.#indexes = new IndexTable(countIndexes(parameters, this.#planned, start.passes.length));
    const { indexInterval } = parameters;
    this.#index = new IndexBuffer(indexInterval, this.#room.index(indexInterval), this.alignment);
    this.#front = new KdumpFront(device, pageSize, start);
    this.#body = new BodyWriter({
      device,
      crc,
      pageSize,
      unit: this.alignment,
      passCount: start.passes.length,
      ...(parameters.body && { sizes: parameters.body }),
    });
  }

  /**
   * Begins the log: block 0 goes first, so that no reader follows it into what is about to be overwritten; then sub
   * header, zero page and start record, flushed. The label must say *in use* by now.
   */
  begin(): void {
    const { device, start, crc } = this.#options;
    this.#front.erase();
    device.flush();
    this.#front.write(startNotesOffset(this.#end, start));
    this.#append(encodeStartRecord(start, this.#place(), crc));
    device.flush();
  }

  /** Goes on behind the last good record; {@link restoreIndex} and {@link restorePages} then say what is there. */
  resume(position: LogPosition): void {
    this.#end = position.end;
    this.#sequence = position.sequence;
    this.#previousRecord = position.previousRecord;
    this.#previousGeneration = position.previousGeneration;
    this.#previousIndex = position.previousIndex;
    this.#generationBytes = position.generationBytes;
    this.#shown = position.shown ?? -1;
  }

  /** Tells of an index record that is on the device, in the order of writing. */
  restoreIndex(ref: {
    readonly offset: number;
    readonly firstPfn: number;
    readonly lastPfn: number;
    readonly count: number;
    readonly pass: number;
    readonly checksum: number;
    readonly zeros: number;
  }): void {
    this.#indexes.add(ref);
    this.#count(ref.pass, ref.count, ref.zeros);
    this.#passAt(ref.pass).indexes++;
  }

  /** Tells of pages in chunks behind the last index record, ascending within a pass. Entries are an index record's. */
  restorePages(entries: IndexEntries, passOf: (entry: number) => number): void {
    for (let i = 0; i < entries.count; i++) {
      const pass = passOf(i);
      if (this.#index.isFull || this.#index.pass !== pass) this.closeIndex();
      this.#index.pass = pass;
      this.#index.put(entries.bytes.subarray(i * INDEX_ENTRY.size, (i + 1) * INDEX_ENTRY.size));
      this.#count(pass, 1, entries.fileOffset(i) === this.#zeroPageOffset ? 1 : 0);
    }
  }

  /** Points block 0 at a whole generation that was there already. */
  showGeneration(bitmap1Offset: number, last: boolean): void {
    this.#show(bitmap1Offset, last);
    this.#options.device.flush();
  }

  #show(bitmap1Offset: number, last: boolean): void {
    const { timestampSeconds } = this.#options;
    this.#front.show({ bitmap1Offset, bitmapBytes: this.#bitmapBytes, timestampSeconds, last });
  }

  openPass(pass: number): void {
    if (this.#index.pass !== pass) this.closeIndex();
    this.#pass = pass;
    this.#index.pass = pass;
    this.#passAt(pass).state = 'begun';
  }

  /** Ends the pass with its last index record. */
  closePass(): void {
    this.closeIndex();
    this.#passAt(this.#pass).state = 'done';
  }

  /**
   * Begins a chunk. False when it would eat into the room for closing: the device is full.
   *
   * @param pages most pages that will come.
   */
  openChunk(pages: number): boolean {
    const { chunkBytes, chunkEntries } = this.#options.parameters;
    // Only a resumed log begins with as much as an index record holds.
    if (this.#index.isFull) this.closeIndex();
    const entries = Math.min(pages, chunkEntries, this.#index.room);
    const room = roundDown(this.#options.dataEnd - this.#end - this.#closingBytes(entries), this.alignment);
    if (room < roundUp(RECORD.size + this.#options.pageSize, this.alignment) + this.alignment) return false;
    this.#chunk.open(Math.min(room, chunkBytes), entries);
    return true;
  }

  /** How many pages, at most `most`, go into the open chunk; 0 when it is full. */
  roomFor(most: number): number {
    return this.#chunk.room(most);
  }

  /** Memory of the open chunk for so many pages: they are read there, then each in turn is added or left out. */
  space(pages: number): Uint8Array {
    return this.#chunk.space(pages);
  }

  /** Page `n` of the last {@link space}. */
  placed(n: number): PlacedPage {
    return this.#chunk.placed(n);
  }

  /** Where a codec puts a page for {@link addCompressed}; page size. */
  get scratch(): Uint8Array {
    return this.#chunk.scratch;
  }

  /** @param checksum CRC-32 of a page of zeros. */
  addZero(pfn: number, checksum: number): void {
    this.#chunk.addZero(pfn, checksum);
    this.zeros++;
  }

  /** Takes page `n` of the last {@link space} as it is. */
  addRaw(pfn: number, n: number, checksum: number): void {
    this.#chunk.addRaw(pfn, n, checksum);
  }

  /** Takes the first `length` bytes of {@link scratch} for the page whose turn it is. @param checksum before compression. */
  addCompressed(pfn: number, length: number, checksum: number, codecFlag: number): void {
    this.#chunk.addCompressed(pfn, length, checksum, codecFlag);
  }

  /** Writes the open chunk in one transfer, unless it is empty. @returns true when an index record is due. */
  closeChunk(): boolean {
    const chunk = this.#chunk;
    if (chunk.count > 0) {
      const record = chunk.close(this.#end, this.#zeroPageOffset, this.#index.view, this.#index.end);
      const header = {
        ...this.#header('chunk', record.length),
        pass: this.#pass,
        listLength: chunk.listLength,
        entryCount: chunk.count,
        firstPfn: chunk.pfn(0),
        lastPfn: chunk.pfn(chunk.count - 1),
        listChecksum: chunk.listChecksum(this.#options.crc),
      };
      encodeRecordHeader(header, record, this.#options.crc);
      this.#append(record);
      this.#index.take(chunk.count);
      this.#count(this.#pass, chunk.count, 0);
      chunk.clear();
    }
    return this.#index.isFull;
  }

  /** Writes the pending descriptors as an index record, unless there are none. */
  closeIndex(): void {
    if (this.#index.count === 0) return;
    const { crc } = this.#options;
    const { pass } = this.#index;
    const { record, listLength, count, firstPfn, lastPfn, checksum } = this.#index.close(crc);
    const offset = this.#end;
    const header: RecordHeader = {
      ...this.#header('index', record.length),
      pass,
      listLength,
      entryCount: count,
      firstPfn,
      lastPfn,
      listChecksum: checksum,
    };
    encodeRecordHeader(header, record, crc);
    this.#append(record);
    this.#previousIndex = offset;
    this.#indexes.add({ offset, firstPfn, lastPfn, count, pass, checksum });
    this.#passAt(pass).indexes++;
  }

  /** Is there anything that the newest generation does not show? */
  get hasNews(): boolean {
    return this.stored > this.#shown;
  }

  /** Would a generation now, inside a pass, keep all of them and the closing one within their share? */
  affordsGeneration(): boolean {
    const next = this.#closingBytes(0);
    const written = this.#end - GEOMETRY.logStart - this.#generationBytes;
    return this.#generationBytes + 2 * next <= this.#options.parameters.generationShare * written;
  }

  /** Is there room for a generation now, a chunk, and the closing generation behind them? */
  hasRoomForGeneration(): boolean {
    const one = this.#closingBytes(0);
    const chunk = roundUp(RECORD.size, this.alignment) + roundUp(this.#options.pageSize, this.alignment);
    return this.#end + 2 * one + chunk <= this.#options.dataEnd;
  }

  /**
   * Writes a whole table of what is stored: flush, body, head, flush, block 0, flush.
   *
   * @param kind `last`: every planned page is stored, the dump is whole; `ended`: nothing comes after it; else `interim`.
   * @param runRecord called with the most bytes that it may take.
   */
  writeGeneration(kind: GenerationKind, runRecord: (maxBytes: number) => Uint8Array): void {
    this.closeChunk();
    this.closeIndex();
    const { device, dataEnd, served } = this.#options;
    device.flush();
    served();
    const size = this.#size;
    const room = this.#room.runRecord(size, this.#end, dataEnd, kind !== 'interim');
    const run = runRecord(room);
    assert(run.length <= room, `run record of ${run.length} bytes, room for ${room}`);
    const length = this.#room.generation(size, run.length);
    const bitmap1Offset = this.#end + this.#room.head(size, run.length);
    const body = {
      offset: bitmap1Offset,
      bitmapBytes: this.#bitmapBytes,
      ranges: this.#options.start.ranges,
      descriptorCount: this.stored,
    };
    const checksums = this.#body.write(body, this.#indexes, served);
    const last = kind === 'last';
    const head = this.#encodeHead(last, length, bitmap1Offset, checksums, run);
    writeDevice(device, head, this.#end);
    device.flush();
    this.#show(bitmap1Offset, last);
    device.flush();
    this.#previousGeneration = this.#end;
    this.#generationBytes += length;
    this.#advance(length);
    this.#shown = this.stored;
    this.generations++;
  }

  #encodeHead(
    last: boolean,
    length: number,
    bitmap1Offset: number,
    checksums: BodyChecksums,
    runRecord: Uint8Array,
  ): Uint8Array {
    const generation: GenerationRecord = {
      bitmap1Offset,
      bitmapBytes: this.#bitmapBytes,
      descriptorsOffset: bitmap1Offset + 2 * this.#bitmapBytes,
      descriptorCount: this.stored,
      presentCount: this.#options.present,
      zeroCount: this.zeros,
      plannedCount: this.#planned,
      holeCount: this.passes.reduce((sum, row) => sum + row.holes, 0),
      bitmap1Checksum: checksums.bitmap1,
      bitmap2Checksum: checksums.bitmap2,
      descriptorsChecksum: checksums.descriptors,
      passes: this.passes,
      indexes: this.#indexes.refs,
      runRecord,
    };
    return encodeGenerationHead({ ...this.#header('generation', length), last }, generation, this.#options.crc);
  }

  /** The shared page of zeros, block 2. */
  get #zeroPageOffset(): number {
    return 2 * this.#options.pageSize;
  }

  /** Bytes of the closing index record and generation when `more` pages have come. */
  #closingBytes(more: number): number {
    return this.#room.closing(this.#index.count + more, { ...this.#size, stored: this.stored + more });
  }

  get #size(): GenerationSize {
    return { stored: this.stored, indexes: this.#indexes.count };
  }

  #passAt(pass: number): PassCount {
    return this.passes[pass] as PassCount;
  }

  #count(pass: number, pages: number, zeros: number): void {
    this.#passAt(pass).stored += pages;
    this.stored += pages;
    this.zeros += zeros;
  }

  #place() {
    const { dumpUuid, part, pageSize } = this.#options;
    return { dumpUuid, part, pageSize, alignment: this.alignment, offset: this.#end, sequence: this.#sequence + 1 };
  }

  #header(kind: RecordKind, length: number): RecordHeader {
    return {
      ...plainHeader(kind, this.#place(), length),
      pass: NO_PASS,
      previousRecord: this.#previousRecord,
      previousGeneration: this.#previousGeneration,
      previousIndex: this.#previousIndex,
    };
  }

  #append(record: Uint8Array): void {
    writeDevice(this.#options.device, record, this.#end);
    this.#advance(record.length);
  }

  #advance(length: number): void {
    this.#previousRecord = this.#end;
    this.#end += length;
    this.#sequence++;
  }

  /** Offset of the next record. */
  get end(): number {
    return this.#end;
  }
}
