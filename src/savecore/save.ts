/**
 * Stage 2: from dump devices to crash directories.
 *
 * The order is what keeps the only copy safe: copy, flush, prove against the device, name, make the name durable; only then
 * the label says saved, and only then is the device formatted anew. A cut anywhere leaves the device as it was, or a whole
 * directory whose `info.json` names the dump, and the next run goes on from there.
 */

import { crc32 } from '../base/crc32.ts';
import { type DumpDevice, placeOf } from '../base/device.ts';
import { DumpError, RefusedError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import { reformatDevice } from '../format/kdump/device-format.ts';
import type { DeviceDump } from '../format/kdump/device-vmcore.ts';
import { type Label, writeLabelState } from '../format/kdump/label.ts';
import { walkSavedDirectories } from './directory.ts';
import { saveLogArea } from './log-area.ts';
import { type SaveOptions, type SaveStep, SaveStopped } from './options.ts';
import { readSavedRecord, type SaveRecord } from './record.ts';
import { type Finding, surveyDevice } from './survey.ts';
import { provePart, writeDirectory } from './write-directory.ts';

/** A device that is registered for dumps. */
export interface SaveDevice {
  readonly device: DumpDevice;
  /** Tells the medium that a range is no longer needed; absent where it cannot be told. */
  readonly discard?: (offset: number, length: number) => void;
}

/** What a run did. Problems of one device do not stop the others. */
export interface SaveOutcome {
  readonly records: readonly SaveRecord[];
  /** Devices whose dump is safe: marked saved and formatted anew. */
  readonly freed: readonly string[];
  /** Devices that were formatted anew without a dump to save. */
  readonly reformatted: readonly string[];
  /** Devices that this boot is writing. */
  readonly busy: readonly string[];
  readonly problems: readonly { readonly device: string; readonly error: DumpError }[];
  /** Told to stop before everything was saved; what `records` lists is. */
  readonly stopped: boolean;
}

interface Surveyed {
  readonly target: SaveDevice;
  readonly finding: Finding;
}

type Part = Surveyed & { readonly finding: Extract<Finding, { kind: 'save' }> };

/** Saves what the devices hold. Throws only bugs. */
export function save(devices: readonly SaveDevice[], options: SaveOptions): SaveOutcome {
  const steps = saveSteps(devices, options);
  for (;;) {
    const next = steps.next();
    if (next.done) return next.value;
  }
}

/** {@link save} piece by piece: between two of them the caller may draw progress, and hear that it is to stop. */
export function* saveSteps(devices: readonly SaveDevice[], options: SaveOptions): Generator<SaveStep, SaveOutcome> {
  const records: SaveRecord[] = [];
  const problems: { device: string; error: DumpError }[] = [];
  const freed: string[] = [];
  const reformatted: string[] = [];
  const busy: string[] = [];
  let stopped = false;
  const failed = (target: SaveDevice, error: unknown): void => {
    if (error instanceof SaveStopped) stopped = true;
    else if (error instanceof DumpError) problems.push({ device: target.device.name, error });
    else throw error;
  };
  const found: Surveyed[] = [];
  for (const target of devices) {
    yield { step: 'look', device: target.device.name };
    found.push({ target, finding: surveyDevice(target.device, options) });
  }
  const surveyed = refuseCopies(found);
  for (const { target, finding } of surveyed) {
    try {
      if (finding.kind === 'problem') throw finding.error;
      records.push(...saveLogArea(target.device, finding.label, options));
    } catch (error) {
      failed(target, error);
    }
    if (finding.kind === 'busy') busy.push(target.device.name);
  }
  for (const parts of groupParts(surveyed)) {
    if (stopped) break;
    try {
      records.push(yield* secureParts(parts, options));
    } catch (error) {
      failed(parts[0]!.target, error);
      continue;
    }
    for (const { target, finding } of options.keep ? [] : parts) {
      try {
        yield { step: 'format', device: target.device.name };
        // The directory is whole: the next run finds it, and has only this left to do.
        if (options.stopped?.()) throw new SaveStopped();
        free(target, finding.label, options);
        freed.push(target.device.name);
      } catch (error) {
        failed(target, error);
      }
    }
  }
  for (const { target, finding } of surveyed) {
    if (finding.kind !== 'reformat' || options.keep || stopped) continue;
    try {
      yield { step: 'format', device: target.device.name };
      reformat(target, finding.label, options);
      reformatted.push(target.device.name);
    } catch (error) {
      failed(target, error);
    }
  }
  return { records, freed, reformatted, busy, problems, stopped };
}

/** Two different devices with one label: both are refused by name. The paths of one device count once. */
function refuseCopies(found: readonly Surveyed[]): Surveyed[] {
  const seen = new Map<string, Surveyed>();
  const copies = new Map<Surveyed, DumpError>();
  const legs = new Set<Surveyed>();
  for (const entry of found) {
    if (entry.finding.kind === 'problem') continue;
    const uuid = formatUuid(entry.finding.label.identity.uuid);
    const first = seen.get(uuid);
    if (!first) seen.set(uuid, entry);
    else if (placeOf(first.target.device) === placeOf(entry.target.device)) legs.add(entry);
    else for (const one of [first, entry]) copies.set(one, labelTwice(uuid, first.target.device, entry.target.device));
  }
  return found
    .filter((entry) => !legs.has(entry))
    .map((entry) => {
      const error = copies.get(entry);
      return error ? { target: entry.target, finding: { kind: 'problem', error } } : entry;
    });
}

function labelTwice(uuid: string, one: DumpDevice, other: DumpDevice): RefusedError {
  return new RefusedError(
    'LABEL_TWICE',
    `the label ${uuid} is on ${one.name} (${placeOf(one)}) and on ${other.name} (${placeOf(other)}): one of them is a copy`,
    { uuid, devices: [one.name, other.name] },
    'save from one of them: `diskdump save DEVICE`',
  );
}

/** Devices that hold parts of one dump, in the order of the parts. */
function groupParts(surveyed: readonly Surveyed[]): Part[][] {
  const groups = new Map<string, Part[]>();
  for (const entry of surveyed) {
    if (entry.finding.kind !== 'save') continue;
    const part = entry as Part;
    const uuid = formatUuid(part.finding.label.state.dumpUuid);
    groups.set(uuid, [...(groups.get(uuid) ?? []), part]);
  }
  return [...groups.values()].map((parts) =>
    parts.sort((a, b) => a.finding.label.state.part - b.finding.label.state.part),
  );
}

/** One dump, whatever number of devices it lies on, brought to a whole directory; no device is touched. */
function* secureParts(parts: readonly Part[], options: SaveOptions): Generator<SaveStep, SaveRecord> {
  const { store, clock } = options;
  const startedMs = clock.monotonicMs();
  const dumpUuid = formatUuid(parts[0]!.finding.label.state.dumpUuid);
  const dumps = parts.map(({ finding }) => finding.dump);
  const there = yield* findProved(dumpUuid, dumps, options);
  const directory = there ?? (yield* writeDirectory(chooseMain(dumps), dumps, options));
  return {
    // A record that does not read is no reason to give the dump up.
    ...readSavedRecord(store, directory),
    device: dumps.map(({ name }) => name).join(','),
    again: there !== undefined,
    seconds: (clock.monotonicMs() - startedMs) / 1000,
  };
}

/**
 * The directory that has these dumps already: as much of each as its device gives now, and every page of it proved once more.
 * One that a failing disk left with less is no reason to give the dump up.
 */
function* findProved(
  dumpUuid: string,
  dumps: readonly DeviceDump[],
  options: SaveOptions,
): Generator<SaveStep, string | undefined> {
  const numbers = dumps.map(({ part }) => part);
  for (const { name, parts } of walkSavedDirectories(options.store, dumpUuid, numbers)) {
    try {
      let whole = true;
      for (const dump of dumps) {
        const saved = parts.find(({ part }) => part === dump.part)!;
        whole &&= saved.struckPages === 0 && saved.pages === dump.countPages().stored;
        if (whole) yield* provePart(dump, `${name}/${saved.file}`, saved, options);
      }
      if (whole) return name;
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
    }
  }
  return undefined;
}

/** The complete part, else the one with most pages: that is the `vmcore`. */
export function chooseMain(dumps: readonly DeviceDump[]): DeviceDump {
  const complete = dumps.find((dump) => dump.state === 'complete');
  if (complete || dumps.length === 1) return complete ?? dumps[0]!;
  const counted = dumps.map((dump) => ({ dump, pages: dump.countPages().stored }));
  return counted.reduce((best, next) => (next.pages > best.pages ? next : best)).dump;
}

/** The label says saved before anything of the dump is lost. */
function free(target: SaveDevice, label: Label, options: SaveOptions): void {
  const change = { state: 'saved', writtenMs: options.clock.wallMs() } as const;
  reformat(target, writeLabelState(target.device, label, change, options.crc), options);
}

function reformat({ device, discard }: SaveDevice, label: Label, options: SaveOptions): void {
  reformatDevice(device, label, {
    wipe: options.wipe,
    ...(discard === undefined ? {} : { discard }),
    crc: options.crc ?? crc32,
    nowMs: options.clock.wallMs(),
    ...(options.served && { served: options.served }),
  });
}
