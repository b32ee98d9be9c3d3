/** Finds the registered devices among those that the capture kernel sees, and opens them behind threads. */

import type { DumpDevice } from '../base/device.ts';
import { DeviceError } from '../base/errors.ts';
import type { DeviceEntry, DeviceFinder } from '../capture/select.ts';
import { ThreadedDevice } from '../driver/threaded.ts';
import { findDevices, listBlockDevices, SYSTEM_ROOTS, type SystemRoots } from '../host/block-devices.ts';
import type { Stage1Device } from './config.ts';

/** Devices opened for one entry: the paths of a multipath device, or what cannot be told apart without its label. */
const CANDIDATES_MAX = 8;

/** Transfers taken ahead of the disk, 1 MiB each: one is filled while the other is written, and memory is short here. */
const SLOTS = 2;

export interface FinderOptions {
  readonly devices: readonly Stage1Device[];
  readonly deadlineMs: number;
  /** Called about once a second while a device is waited for. */
  readonly onWait: () => void;
  readonly roots?: SystemRoots;
  /** Opens a path; tests give their own. */
  readonly open?: (path: string) => DumpDevice;
}

/** A finder by the ids that were noted when the machine was armed. */
export function stage1Finder(options: FinderOptions): DeviceFinder {
  const { devices, deadlineMs, onWait, roots = SYSTEM_ROOTS } = options;
  const open =
    options.open ?? ((path: string): DumpDevice => ThreadedDevice.open(path, { deadlineMs, onWait, slots: SLOTS }));
  return {
    find(entry: DeviceEntry): readonly DumpDevice[] {
      const registered = devices.find(({ path }) => path === entry.name);
      if (!registered) return [];
      const present = listBlockDevices(roots).filter(({ kind }) => kind !== 'mapped' && kind !== 'memory');
      const candidates = findDevices(registered.id, present).slice(0, CANDIDATES_MAX);
      return openAll(
        candidates.map(({ path }) => path),
        open,
      );
    },
  };
}

/** Opens what opens. One candidate that fails does not keep the others away; when none opens, the first failure counts. */
function openAll(paths: readonly string[], open: (path: string) => DumpDevice): DumpDevice[] {
  const opened: DumpDevice[] = [];
  let failure: DeviceError | undefined;
  for (const path of paths) {
    try {
      opened.push(open(path));
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      failure ??= error;
    }
  }
  if (opened.length === 0 && failure) throw failure;
  return opened;
}
