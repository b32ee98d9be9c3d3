/** The front of the device as KDUMP readers see it: block 0, sub header, shared zero page. */

import type { DumpDevice } from '../../base/device.ts';
import { writeBlocks } from './label.ts';
import { encodeKdumpHeader, encodeSubHeader, KDUMP_STATUS } from './layout.ts';
import type { StartRecord } from './log-start.ts';

/** What block 0 says of the newest generation. */
export interface ShownGeneration {
  /** Absolute, on a page. */
  readonly bitmap1Offset: number;
  /** Of each bitmap. */
  readonly bitmapBytes: number;
  /** Whole seconds since 1970. */
  readonly timestampSeconds: number;
  /** Every planned page is stored; else block 0 says incomplete. */
  readonly last: boolean;
}

/** Writes the three first blocks, one page each. Flushes nothing: the order is the caller's. */
export class KdumpFront {
  readonly #device: DumpDevice;
  readonly #pageSize: number;
  readonly #start: Omit<StartRecord, 'notesOffset'>;
  readonly #block: Uint8Array;

  constructor(device: DumpDevice, pageSize: number, start: Omit<StartRecord, 'notesOffset'>) {
    this.#device = device;
    this.#pageSize = pageSize;
    this.#start = start;
    this.#block = new Uint8Array(pageSize);
  }

  /** Makes block 0 zeros, so that no reader follows it. */
  erase(): void {
    this.#block.fill(0);
    writeBlocks(this.#device, this.#block, 0);
  }

  /** Sub header and zero page. @param notesOffset where the start record has the notes. */
  write(notesOffset: number): void {
    const { physBase, dumpLevel, notes, vmcoreinfo, maxMapnr } = this.#start;
    encodeSubHeader(this.#block, {
      physBase,
      dumpLevel,
      notesOffset: notes.length === 0 ? 0 : notesOffset,
      notesLength: notes.length,
      vmcoreinfoOffset: vmcoreinfo.length === 0 ? 0 : notesOffset + vmcoreinfo.offset,
      vmcoreinfoLength: vmcoreinfo.length,
      maxMapnr,
    });
    writeBlocks(this.#device, this.#block, this.#pageSize);
    this.#block.fill(0);
    writeBlocks(this.#device, this.#block, 2 * this.#pageSize);
  }

  /** Points block 0 to a generation. Its header is 464 bytes, within one sector: it is there whole or not at all. */
  show({ bitmap1Offset, bitmapBytes, timestampSeconds, last }: ShownGeneration): void {
    const { utsname, codec, maxMapnr, cpuCount } = this.#start;
    encodeKdumpHeader(this.#block, {
      utsname,
      timestampSeconds,
      status: codec | (last ? 0 : KDUMP_STATUS.incomplete),
      blockSize: this.#pageSize,
      subHdrSize: bitmap1Offset / this.#pageSize - 1,
      bitmapBlocks: (2 * bitmapBytes) / this.#pageSize,
      maxMapnr,
      cpuCount: Math.max(1, cpuCount),
    });
    writeBlocks(this.#device, this.#block, 0);
  }
}
