/** What a run of stage 2 is told. */

import type { Clock } from '../base/clock.ts';
import type { Crc32 } from '../base/crc32.ts';
import type { CodecTable } from '../codec/codec.ts';
import type { WipeMode } from '../format/kdump/device-format.ts';
import type { SaveStore } from './store.ts';

/** What a run of stage 2 does next, told between two pieces of its work. */
export type SaveStep =
  /** Looks at a device: label, and the log of an unsaved dump. */
  | { readonly step: 'look'; readonly device: string }
  /** Copies or proves pages, every few of them. May be stopped. */
  | {
      readonly step: 'copy' | 'verify';
      readonly device: string;
      readonly donePages: number;
      readonly totalPages: number;
      readonly pageSize: number;
    }
  /** The dump is safe: the device is marked saved and formatted anew. */
  | { readonly step: 'format'; readonly device: string };

/** Ends a run that was told to stop: what was copied in part is removed, and the device still holds the dump. */
export class SaveStopped extends Error {}

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
  /** Asked while pages are copied and proved, and before a device is formatted: true ends the run there. */
  readonly stopped?: () => boolean;
  /** Called while a device's log is gone through. */
  readonly served?: () => void;
}
