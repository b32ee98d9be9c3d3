/**
 * A dump device of any size that keeps no page: it compares each page that is written with what the machine has at that
 * pfn, fails on a difference, and makes the page again when it is read. Everything else lies in a sparse file.
 */

import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import type { DumpDevice } from '../../src/base/device.ts';
import { CHUNK_ENTRY, CODEC_ZERO, RECORD, RECORD_KIND } from '../../src/format/kdump/log-layout.ts';
import { fillPage, PAGE } from './big-machine.ts';

/** Largest transfer in bytes. */
const TRANSFER = 2 ** 20;

export class ComparingDevice implements DumpDevice {
  readonly name = 'comparing';
  readonly blockSize = 4096;
  readonly size: number;
  readonly maxTransfer = TRANSFER;
  readonly location = { start: 0, serial: 'COMPARING' };
  /** Pages compared so far. */
  compared = 0;
  /** Bytes that are no pages. */
  readonly #file: number;
  /** For each 4 KiB block of the device the pfn of the page in it plus one, or 0. */
  readonly #map: number;
  readonly #pfns = new Uint32Array(TRANSFER / PAGE);
  readonly #pfnBytes = new Uint8Array(this.#pfns.buffer);
  readonly #truth = new Uint32Array(PAGE / 4);
  readonly #truthBytes = Buffer.from(this.#truth.buffer);

  /** @param directory holds the two files; they are made where they are not there. */
  constructor(directory: string, size: number) {
    this.size = size;
    this.#file = openSync(`${directory}/tables`, 'a+');
    closeSync(this.#file);
    this.#file = openSync(`${directory}/tables`, 'r+');
    closeSync(openSync(`${directory}/map`, 'a+'));
    this.#map = openSync(`${directory}/map`, 'r+');
    ftruncateSync(this.#file, size);
    ftruncateSync(this.#map, size / 1024);
  }

  sanityCheck(): void {}
  quiesce(): void {}

  read(target: Uint8Array, offset: number): void {
    const blocks = target.length / PAGE;
    readAll(this.#map, this.#pfnBytes.subarray(0, blocks * 4), offset / 1024);
    for (let i = 0; i < blocks; ) {
      let run = i;
      while (run < blocks && this.#pfns[run] === 0) run++;
      if (run > i) readAll(this.#file, target.subarray(i * PAGE, run * PAGE), offset + i * PAGE);
      for (; run < blocks && this.#pfns[run] !== 0; run++) {
        fillPage(this.#truth, 0, (this.#pfns[run] as number) - 1);
        target.set(this.#truthBytes, run * PAGE);
      }
      i = run;
    }
  }

  write(bytes: Uint8Array, offset: number): void {
    const blocks = bytes.length / PAGE;
    this.#pfns.fill(0, 0, blocks);
    const head = isChunk(bytes) ? this.#compareChunk(bytes) : bytes.length;
    writeAll(this.#file, bytes.subarray(0, head), offset);
    writeAll(this.#map, this.#pfnBytes.subarray(0, blocks * 4), offset / 1024);
  }

  flush(): void {
    fsyncSync(this.#map);
  }

  shutdown(): void {}

  close(): void {
    closeSync(this.#file);
    closeSync(this.#map);
  }

  /** Pfn of the page in the 4 KiB block at `offset`, or `undefined`. */
  pageAt(offset: number): number | undefined {
    const entry = new Uint32Array(1);
    readAll(this.#map, new Uint8Array(entry.buffer), offset / 1024);
    return entry[0] === 0 ? undefined : (entry[0] as number) - 1;
  }

  /** Compares the pages of a chunk with the truth and notes where they lie. @returns bytes before the first page. */
  #compareChunk(record: Uint8Array): number {
    const view = new DataView(record.buffer, record.byteOffset, record.length);
    const count = view.getUint32(RECORD.entryCount, true);
    let first = record.length;
    for (let i = 0; i < count; i++) {
      const at = RECORD.size + i * CHUNK_ENTRY.size;
      const pfn = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
      fillPage(this.#truth, 0, pfn);
      if (view.getUint16(at + CHUNK_ENTRY.codec, true) === CODEC_ZERO) {
        if (this.#truth[0] !== 0 || this.#truth[1023] !== 0) throw new Error(`pfn ${pfn} is stored as zero and is not`);
      } else {
        const offset = view.getUint32(at + CHUNK_ENTRY.offset, true);
        if (offset % PAGE !== 0 || view.getUint32(at + CHUNK_ENTRY.length, true) !== PAGE)
          throw new Error(`pfn ${pfn} is not stored raw on a block`);
        if (this.#truthBytes.compare(record, offset, offset + PAGE) !== 0)
          throw new Error(`pfn ${pfn} is stored wrong`);
        this.#pfns[offset / PAGE] = pfn + 1;
        first = Math.min(first, offset);
      }
      this.compared++;
    }
    return first;
  }
}

function isChunk(bytes: Uint8Array): boolean {
  for (let i = 0; i < 8; i++) if (bytes[i] !== 'DDRECORD'.charCodeAt(i)) return false;
  return bytes[RECORD.kind] === RECORD_KIND.chunk;
}

function readAll(fd: number, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const count = readSync(fd, target, done, target.length - done, offset + done);
    if (count === 0) throw new Error(`end of file at ${offset + done}`);
    done += count;
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}
