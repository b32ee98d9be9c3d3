/** The record of one save: as `save` prints it, and read back from `info.json` by `list`. */

import { FormatError } from '../base/errors.ts';
import { readInfo } from './directory.ts';
import type { SaveStore } from './store.ts';

/** One dump or one log area that was brought to safety, as `diskdump save --json` prints it. */
export interface SaveRecord {
  readonly schema: 'diskdump.save/1';
  readonly device: string;
  readonly dumpUuid: string;
  readonly kind: 'dump' | 'log';
  readonly state: 'complete' | 'partial';
  /** Directory, with the store's name in front. */
  readonly dir: string;
  readonly pages: number;
  readonly bytes: number;
  readonly passes: readonly { readonly name: string; readonly complete: boolean }[];
  readonly holes: number;
  /** A sentence where the dump is partial. */
  readonly reason?: string;
  /** Why there is no `vmcore-dmesg.txt`, where there is none. */
  readonly logProblem?: string;
  /** True where a whole directory was there already. */
  readonly again: boolean;
  readonly seconds: number;
}

/** As `diskdump save` printed it, with the kernel's release. */
export type SavedRecord = Omit<SaveRecord, 'again'> & { readonly release: string };

/** The record of a directory, a sentence where it is one of ours and does not read, or `undefined` for those of others. */
export function inspectSaved(store: SaveStore, directory: string): SavedRecord | string | undefined {
  const record = findSavedRecord(store, directory);
  if (record) {
    const whole = Number.isFinite(record.bytes) && Number.isFinite(record.pages) && typeof record.state === 'string';
    return whole ? record : DAMAGED;
  }
  const info = readInfo(store, directory);
  if (!info) return store.readSmall(`${directory}/info.json`) ? DAMAGED : undefined;
  if (info.schema !== 'diskdump.saved/1') return undefined;
  return info.whole === true ? DAMAGED : 'its save was not finished: `diskdump save` does it again';
}

const DAMAGED = 'its info.json is damaged; `diskdump info` of the vmcore in it may still say what it is';

/** The record of a directory that is known to be whole. @throws FormatError `SAVED_INFO` when it says nothing of the kind. */
export function readSavedRecord(store: SaveStore, directory: string): SavedRecord {
  const record = findSavedRecord(store, directory);
  if (record) return record;
  throw new FormatError(
    'SAVED_INFO',
    `${store.name}/${directory}/info.json is not the record of a whole save`,
    { directory },
    'move that directory away and save again; the dump is still on its device',
  );
}

function findSavedRecord(store: SaveStore, directory: string): SavedRecord | undefined {
  const info = readInfo(store, directory);
  if (info?.schema !== 'diskdump.saved/1' || info.whole !== true) return undefined;
  const { record, release } = info;
  if (typeof record !== 'object' || record === null) return undefined;
  // Written by this program under a name that it gives to whole saves only; the shape is not looked at again.
  const saved = record as Omit<SaveRecord, 'again' | 'dir'>;
  return { ...saved, dir: `${store.name}/${directory}`, release: typeof release === 'string' ? release : '' };
}
