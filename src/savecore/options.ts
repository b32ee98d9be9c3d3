/** What a run of stage 2 is told. */

import type { Clock } from '../base/clock.ts';
import type { Crc32 } from '../base/crc32.ts';
import type { CodecTable } from '../codec/codec.ts';
import type { WipeMode } from '../format/kdump/device-format.ts';
import type { SaveStore } from './store.ts';

/** Served while pages are copied and proved. */
export interface SaveProgress {
  readonly step: 'copy' | 'verify';
  readonly device: string;
  readonly donePages: number;
  readonly totalPages: number;
  readonly bytes: number;
}

export interface SaveOptions {
  readonly store: SaveStore;
  readonly codecs: CodecTable;
  readonly clock: Clock;
  readonly crc?: Crc32;
  /** Boot id of the running kernel, 16 bytes. */
  readonly bootId: Uint8Array;
  /** What is done to old data when a device is formatted anew. */
  readonly wipe: WipeMode;
  /** Leaves the devices as they are: nothing is marked saved or formatted. */
  readonly keep?: boolean;
  /** `diskdump 0.1.0`, for `info.json`. */
  readonly writtenBy: string;
  readonly onProgress?: (progress: SaveProgress) => void;
}
