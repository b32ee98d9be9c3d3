/** Going on with a log of this boot: where it ends, and what is on the device already. */

import type { LogWriter } from '../format/kdump/log-writer.ts';

/** Where a capture goes on. */
export interface ResumePoint {
  /** For each pass the pfn from which on pages are still to be stored. */
  readonly from: readonly number[];
  /** The generation marked last is there: only the label is missing. */
  readonly last: boolean;
  /** Tells a fresh writer of everything that is on the device. */
  restore(writer: LogWriter): void;
}
