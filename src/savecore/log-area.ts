/** Saves the kernel log that the fallback left in a device's log area, into a directory of its own. */

import { crc32 } from '../base/crc32.ts';
import type { DumpDevice } from '../base/device.ts';
import { FormatError, NoDataError } from '../base/errors.ts';
import { formatUuid, hex } from '../base/hex.ts';
import { type Label, labelGeometry } from '../format/kdump/label.ts';
import { clearLogArea, readLogArea, type SavedLogArea } from '../format/kdump/log-area.ts';
import { formatVmcoreDmesg } from '../kernel/log-text.ts';
import type { VirtualMemory } from '../kernel/memory.ts';
import { walkLog } from '../kernel/printk.ts';
import { findPrintkLayout } from '../kernel/printk-layout.ts';
import { parseVmcoreinfo } from '../kernel/vmcoreinfo.ts';
import { chooseDirectory, findSavedDirectory, formatCrashDirectory, unfinishedDirectory } from './directory.ts';
import type { SaveOptions } from './options.ts';
import { readSavedRecord, type SaveRecord } from './record.ts';
import { writeDmesg, writeWhole } from './write-files.ts';

/** The part number that stands in `info.json` for a log without a dump. */
const LOG_PART = 0;

/**
 * Saves the log area's log if there is one, then erases its header. The arming's id names the log, so that a run that was cut
 * in between does not save it twice.
 *
 * @returns one record, or none where the area is free.
 * @throws DeviceError; FormatError `LOG_AREA_DAMAGED` where the log cannot be decoded: the area stays as it is.
 */
export function saveLogArea(device: DumpDevice, label: Label, options: SaveOptions): SaveRecord[] {
  const { store, clock, crc = crc32 } = options;
  const startedMs = clock.monotonicMs();
  const area = readLogArea(device, label.identity, crc);
  if (!area) return [];
  const uuid = formatUuid(area.header.armId);
  const there = findSavedDirectory(store, uuid, [LOG_PART]);
  const directory = there ?? writeLogDirectory(device, label, area, uuid, options);
  if (!options.keep) clearLogArea(device, label.identity);
  const seconds = (clock.monotonicMs() - startedMs) / 1000;
  return [{ ...readSavedRecord(store, directory), again: there !== undefined, seconds }];
}

function writeLogDirectory(
  device: DumpDevice,
  label: Label,
  area: SavedLogArea,
  uuid: string,
  options: SaveOptions,
): string {
  const { store, clock } = options;
  const unfinished = unfinishedDirectory(uuid);
  store.removeDirectory(unfinished);
  store.makeDirectory(unfinished);
  const layout = findPrintkLayout(parseVmcoreinfo(area.header.vmcoreinfo));
  const dmesg = writeDmesg(
    store,
    `${unfinished}/vmcore-dmesg.txt`,
    () => walkLog(areaMemory(area), layout),
    formatVmcoreDmesg,
  );
  if (dmesg.bytes === 0) {
    throw new FormatError(
      'LOG_AREA_DAMAGED',
      `the log area of ${device.name} holds a log, and no line of it can be read: ${dmesg.problem ?? 'it is empty'}`,
      { device: device.name, offset: labelGeometry(label.identity).logAreaOffset },
      'keep an image of the device and report it; `diskdump format --force` gives the log up',
    );
  }
  const record: Omit<SaveRecord, 'again' | 'dir'> = {
    schema: 'diskdump.save/1',
    device: device.name,
    dumpUuid: uuid,
    kind: 'log',
    state: 'partial',
    pages: 0,
    bytes: dmesg.bytes,
    passes: [],
    holes: 0,
    reason: 'stage 1 wrote no dump; the fallback saved the kernel log alone',
    seconds: 0,
  };
  const nowMs = clock.wallMs();
  const info = {
    schema: 'diskdump.saved/1',
    whole: true,
    kind: 'log',
    dumpUuid: uuid,
    state: 'partial',
    reason: record.reason,
    release: area.header.release,
    armedAt: new Date(area.header.armedMs).toISOString(),
    savedAt: new Date(nowMs).toISOString(),
    savedBy: options.writtenBy,
    parts: [{ file: 'vmcore-dmesg.txt', part: LOG_PART, device: device.name, bytes: dmesg.bytes }],
    dmesg: { file: 'vmcore-dmesg.txt', ...dmesg },
    record,
  };
  writeWhole(store, `${unfinished}/info.json`, new TextEncoder().encode(`${JSON.stringify(info, null, 2)}\n`));
  store.syncDirectory(unfinished);
  const directory = chooseDirectory(store, formatCrashDirectory(Math.floor(nowMs / 1000)));
  store.rename(unfinished, directory);
  store.syncDirectory('');
  return directory;
}

/** The saved rings as the dead kernel's virtual memory. */
function areaMemory({ header, readVirtual }: SavedLogArea): VirtualMemory {
  const notSaved = (vaddr: bigint): NoDataError =>
    new NoDataError('NOT_SAVED', `the log area does not hold vaddr ${hex(vaddr)}`);
  return {
    translate(vaddr) {
      throw notSaved(vaddr);
    },
    readVirtual(target, vaddr) {
      for (let done = 0; done < target.length; ) {
        const at = vaddr + BigInt(done);
        const range = header.ranges.find((r) => at >= r.vaddr && at < r.vaddr + BigInt(r.length));
        if (!range) throw notSaved(at);
        const length = Math.min(target.length - done, range.length - Number(at - range.vaddr));
        if (!readVirtual(at, target.subarray(done, done + length))) throw notSaved(at);
        done += length;
      }
    },
  };
}
