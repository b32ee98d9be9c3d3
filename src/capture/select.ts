/** Which device takes the dump: the first sane one in the list's order. Reads only; nothing is written here. */

import { type DumpDevice, placeOf } from '../base/device.ts';
import { DumpError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import type { Label } from '../format/kdump/label.ts';
import type { DeviceJudge, Verdict } from './judge.ts';
import type { ResumePoint } from './resume.ts';
import type { RunLog } from './run-log.ts';
import type { CaptureProgress, Supervisor } from './supervisor.ts';

/** One line of the list of devices; order = preference. */
export interface DeviceEntry {
  /** What the configuration calls it. */
  readonly name: string;
  /** UUID of its label, 16 bytes, as noted when armed; absent where any label of ours will do. */
  readonly uuid?: Uint8Array;
}

/**
 * Finds devices. To add one: `find` gives every device that answers to the entry now, opened: several when the paths of a
 * multipath device, or copies of a disk, all show the label. None when it is not there yet; it is asked again. Devices that
 * were passed over are shut down, and opened anew when asked for again. A `DumpError` says that it is there and can't be used.
 */
export interface DeviceFinder {
  find(entry: DeviceEntry): readonly DumpDevice[];
}

export interface SelectOptions {
  readonly devices: readonly DeviceEntry[];
  readonly finder: DeviceFinder;
  readonly judge: DeviceJudge;
  readonly log: RunLog;
  readonly supervisor: Supervisor;
  readonly progress: CaptureProgress;
  /** Sleeps. */
  readonly wait: (ms: number) => void;
  /** How long devices that are not there yet are waited for, all together, from the first call on. */
  readonly deviceWaitMs: number;
}

/** A device that may be written, and how. */
export interface SelectedDevice {
  /** Number in the list. */
  readonly index: number;
  readonly device: DumpDevice;
  readonly label: Label;
  /** Present where a log of this boot goes on. */
  readonly resume?: ResumePoint;
}

/** How often a device that is not there is looked for. */
const POLL_MS = 250;

/**
 * Goes through the list, once for a whole capture: a device that was passed over is not tried again.
 *
 * A device that is not there yet is waited for before the next one is looked at; when the time is over it is passed over.
 */
export class DeviceSelection {
  readonly #options: SelectOptions;
  readonly #deadlineMs: number;
  /** Numbers of entries that are out. */
  readonly #out = new Set<number>();
  /** Places by label UUID, of every device judged. */
  readonly #places = new Map<string, string>();

  constructor(options: SelectOptions) {
    this.#options = options;
    this.#deadlineMs = options.supervisor.clock.monotonicMs() + options.deviceWaitMs;
  }

  /** The last device of the list whose log of this boot goes on. Does not wait. */
  findResumable(): SelectedDevice | undefined {
    const { devices } = this.#options;
    for (let index = devices.length - 1; index >= 0; index--) {
      const found = this.#tryFind(index, devices[index] as DeviceEntry);
      const selected = found && found.length > 0 ? this.#judge(index, found, 'resume') : undefined;
      if (selected) return selected;
    }
    return undefined;
  }

  /** The first device of the list that may take a dump, or `undefined` when none is left. */
  next(): SelectedDevice | undefined {
    const { devices, supervisor, progress, wait } = this.#options;
    progress.phase = 'checking';
    for (let index = 0; index < devices.length; ) {
      const entry = devices[index] as DeviceEntry;
      progress.device = entry.name;
      supervisor.progress(progress);
      const found = this.#out.has(index) ? undefined : this.#tryFind(index, entry);
      if (found && found.length === 0 && supervisor.clock.monotonicMs() < this.#deadlineMs) {
        progress.phase = 'waiting';
        wait(POLL_MS);
        continue;
      }
      progress.phase = 'checking';
      const selected = found && this.#judge(index, found, 'take');
      if (selected && !this.#hasCopyBehind(selected)) return selected;
      index++;
    }
    return undefined;
  }

  /**
   * Does an entry behind it show the same label on another device? Then both are out before a byte is written. Only entries
   * that any label satisfies are looked at: the others cannot answer to this one.
   */
  #hasCopyBehind({ index, device }: SelectedDevice): boolean {
    const { devices } = this.#options;
    let copied = false;
    for (let behind = index + 1; behind < devices.length; behind++) {
      const entry = devices[behind] as DeviceEntry;
      if (entry.uuid || this.#out.has(behind)) continue;
      const found = this.#tryFind(behind, entry) ?? [];
      const twin = this.#twin(found.map((other) => ({ device: other, verdict: this.#verdict(other, entry, 'take') })));
      for (const other of found) other.shutdown();
      if (twin === undefined) continue;
      this.#refuse(behind, entry.name, 'DEVICE_UUID_TWICE', twin);
      this.#refuse(index, device.name, 'DEVICE_UUID_TWICE', twin);
      copied = true;
    }
    if (copied) device.shutdown();
    return copied;
  }

  /** Strikes a device that failed. */
  strike(selected: SelectedDevice): void {
    this.#out.add(selected.index);
  }

  #tryFind(index: number, entry: DeviceEntry): readonly DumpDevice[] | undefined {
    try {
      return this.#options.finder.find(entry);
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      this.#refuse(index, entry.name, error.code, error.message);
      return undefined;
    }
  }

  /** Judges the devices that answer to one entry: the first that is fit among the paths of one device. */
  #judge(index: number, found: readonly DumpDevice[], want: 'resume' | 'take'): SelectedDevice | undefined {
    const entry = this.#options.devices[index] as DeviceEntry;
    const verdicts = found.map((device) => ({ device, verdict: this.#verdict(device, entry, want) }));
    const twin = this.#twin(verdicts);
    const fit = twin === undefined ? verdicts.find(({ verdict }) => isFit(verdict, want)) : undefined;
    for (const { device } of verdicts) if (device !== fit?.device) device.shutdown();
    if (fit && fit.verdict.kind !== 'refuse') {
      const { kind, ...rest } = fit.verdict;
      return { index, device: fit.device, ...rest };
    }
    if (want === 'resume') return undefined;
    if (twin !== undefined) this.#refuse(index, entry.name, 'DEVICE_UUID_TWICE', twin);
    else if (found.length === 0) this.#refuse(index, entry.name, 'DEVICE_NOT_FOUND', `${entry.name} is not there`);
    for (const { device, verdict } of verdicts)
      if (verdict.kind === 'refuse' && twin === undefined)
        this.#refuse(index, device.name, verdict.code, verdict.message);
    return undefined;
  }

  #verdict(device: DumpDevice, entry: DeviceEntry, want: 'resume' | 'take'): Verdict {
    return this.#options.judge.judge(device, entry.uuid, want);
  }

  /** A sentence when two different devices carry one UUID; the paths of one device count once. */
  #twin(verdicts: readonly { readonly device: DumpDevice; readonly verdict: Verdict }[]): string | undefined {
    for (const { device, verdict } of verdicts) {
      if (!verdict.label) continue;
      const uuid = formatUuid(verdict.label.identity.uuid);
      const place = placeOf(device);
      const known = this.#places.get(uuid);
      if (known !== undefined && known !== place)
        return `the label ${uuid} is on ${device.name} (${place}) and on ${known}: one of them is a copy`;
      this.#places.set(uuid, place);
    }
    return undefined;
  }

  #refuse(index: number, device: string, code: string, message: string): void {
    this.#out.add(index);
    this.#options.log.refuse({ device, code, message });
  }
}

function isFit(verdict: Verdict, want: 'resume' | 'take'): boolean {
  return verdict.kind === 'resume' || verdict.kind === want;
}
