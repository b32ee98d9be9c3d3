/** The page descriptor table of a KDUMP file, read through windows into columns that the caller looks at. */

import type { ByteSource } from '../../base/source.ts';
import { TableWindows } from '../windows.ts';
import { PAGE_DESC } from './layout.ts';

/** Descriptors of a window: 24 KiB. */
const WINDOW_DESCRIPTORS = 1024;
const WINDOWS_MAX = 8;

/** The table; `load` makes one descriptor the current one, without allocating. */
export class DescriptorTable {
  /** File offset of the stored bytes. NaN where the table holds a negative one or one past 2^53. */
  offset = 0;
  /** Stored bytes. */
  length = 0;
  flags = 0;
  /** Halves of `page_flags`. */
  proofLow = 0;
  proofHigh = 0;
  readonly #windows: TableWindows;

  /** @param count descriptors of the table, where that is known; else it ends with the file. */
  constructor(source: ByteSource, tableOffset: number, count = Number.POSITIVE_INFINITY) {
    this.#windows = new TableWindows(source, {
      offset: tableOffset,
      length: Math.max(0, Math.min(source.size - tableOffset, count * PAGE_DESC.size)),
      windowBytes: WINDOW_DESCRIPTORS * PAGE_DESC.size,
      windowsMax: WINDOWS_MAX,
    });
  }

  /** Loads descriptor number `rank`; false where the file ends before it. */
  load(rank: number): boolean {
    const window = this.#windows.load(Math.floor(rank / WINDOW_DESCRIPTORS));
    const at = (rank % WINDOW_DESCRIPTORS) * PAGE_DESC.size;
    if (at + PAGE_DESC.size > window.length) return false;
    const words = window.words;
    const word = at / 4;
    const high = words[word + 1]!;
    this.offset = high < 0x200000 ? high * 2 ** 32 + words[word]! : Number.NaN;
    this.length = words[word + 2]!;
    this.flags = words[word + 3]!;
    this.proofLow = words[word + 4]!;
    this.proofHigh = words[word + 5]!;
    return true;
  }
}
