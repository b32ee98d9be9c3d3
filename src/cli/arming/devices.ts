/** The configured dump devices as they are now: found, labelled, in which state, and whether they fit the configuration. */

import { statSync } from 'node:fs';
import { isDeviceError } from '../../base/device.ts';
import { DumpError, RefusedError, UsageError } from '../../base/errors.ts';
import { formatUuid, hexBytes } from '../../base/hex.ts';
import { ThreadedDevice } from '../../driver/threaded.ts';
import { checkIdentity, type DeviceState, type Label, readLabel, writeLabelState } from '../../format/kdump/label.ts';
import { checkSignatures } from '../../format/kdump/signature.ts';
import { type DeviceId, identifyDevice } from '../../host/block-devices.ts';
import { nodeCrc32 } from '../../host/codecs.ts';
import type { Config } from '../../host/config.ts';
import { machineId, type Problem } from './machine.ts';

/** One line of the configuration's list. */
export interface InspectedDevice {
  readonly path: string;
  /** Of its label, with dashes; absent without one. */
  readonly uuid?: string;
  /** As `diskdump check` says it; `unreadable` is what does not open or read. */
  readonly state: 'unreadable' | 'unformatted' | 'foreign' | 'ready' | 'in-use' | 'partial' | 'complete' | 'saved';
  /** What keeps stage 1 from using it now. */
  readonly problems: readonly string[];
  /** What ends them, where that is one thing. */
  readonly hint?: string;
  /** This user may not open it: nothing is known of it. */
  readonly denied?: true;
  /** How stage 1 finds it; absent for what it cannot find: a file, a loop device, what cannot be opened. */
  readonly id?: DeviceId;
  /** Of a device that stage 1 finds and that is this machine's. */
  readonly label?: Label;
}

const STATE_WORDS: Readonly<Record<DeviceState, InspectedDevice['state']>> = {
  ready: 'ready',
  inUse: 'in-use',
  ended: 'partial',
  complete: 'complete',
  saved: 'saved',
};

/** Looks at each device of the list, without writing to it. A device that fails is part of the answer. */
export function inspectDevices(paths: readonly string[]): InspectedDevice[] {
  return paths.map((path) => {
    try {
      return inspectDevice(path);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const found = unreadable(path, message, error instanceof DumpError ? error.hint : undefined);
      return isDenied(error) ? { ...found, denied: true } : found;
    }
  });
}

function isDenied(error: unknown): boolean {
  const errno = isDeviceError(error) ? error.failure.errno : (error as NodeJS.ErrnoException).code;
  return errno === 'EACCES' || errno === 'EPERM';
}

function unreadable(path: string, text: string, hint: string | undefined): InspectedDevice {
  return { path, state: 'unreadable', problems: [text], ...(hint !== undefined && { hint }) };
}

/** The problems of a device as `arm` and `status` list them: the hint once, behind the last. */
export function describeDeviceProblems({ path, problems, hint }: InspectedDevice): Problem[] {
  return problems.map((text, n) => ({
    code: 'DEVICE',
    level: 'warning',
    text: `${path}: ${text}`,
    ...(hint !== undefined && n === problems.length - 1 && { hint }),
  }));
}

/**
 * Refuses a configuration that says otherwise than a label: the label's parameters rule, and a difference means that the
 * operator expects something else than what will happen. Two devices with one label are refused by name.
 *
 * @throws UsageError `CONFIG_DIFFERS`; RefusedError `DEVICE_TWICE`
 */
export function checkAgainstConfig(devices: readonly InspectedDevice[], config: Config, file: string): void {
  const seen = new Map<string, InspectedDevice>();
  for (const device of devices) {
    if (device.label) compareLabel(device, device.label, config, file);
    // What stage 1 cannot find is no rival.
    if (device.uuid === undefined || device.id === undefined) continue;
    const other = seen.get(device.uuid);
    if (other && !isSameDisk(other, device)) {
      throw new RefusedError(
        'DEVICE_TWICE',
        `${other.path} and ${device.path} carry the same label ${device.uuid}: one is a copy of the other`,
        { uuid: device.uuid },
        `format the copy: diskdump format --force ${device.path}`,
      );
    }
    seen.set(device.uuid, device);
  }
}

/** Notes the armed image in the label of each ready device, so that stage 1 can tell. Returns what could not be written. */
export function noteArmedDigest(devices: readonly InspectedDevice[], sha256: string): string[] {
  const failures: string[] = [];
  for (const { path, label } of devices) {
    if (label?.state.state !== 'ready') continue;
    try {
      withDevice(path, true, (device) => {
        writeLabelState(device, label, { armedDigest: Buffer.from(sha256, 'hex'), writtenMs: Date.now() }, nodeCrc32);
      });
    } catch (error) {
      failures.push(`noting the armed image on ${path}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failures;
}

const MISSING_HINT = 'is the path right, is the disk attached? `lsblk` lists disks and partitions';

function inspectDevice(path: string): InspectedDevice {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) return unreadable(path, 'it is not there', MISSING_HINT);
  const place = findPlace(path);
  if ('id' in place) return inspectLabel(path, place.id);
  const { problem, hint } = place;
  if (!stat.isFile() && !stat.isBlockDevice()) return unreadable(path, problem, hint);
  // Stage 1 will not find it, `save` does: its label counts.
  const { id: _, label: __, ...found } = inspectLabel(path, undefined);
  const problems = found.state === 'unformatted' ? [problem] : [...found.problems, problem];
  return { ...found, problems, ...(hint !== undefined && { hint }) };
}

/** How stage 1 will find the device, or why it cannot. */
function findPlace(path: string): { readonly id: DeviceId } | { readonly problem: string; readonly hint?: string } {
  try {
    return { id: identifyDevice(path) };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const problem = error.message.startsWith(`${path} is `) ? error.message.replace(path, 'it') : error.message;
    return { problem, ...(error.hint !== undefined && { hint: error.hint }) };
  }
}

function inspectLabel(path: string, deviceId: DeviceId | undefined): InspectedDevice {
  const id = deviceId && { id: deviceId };
  return withDevice(path, false, (device): InspectedDevice => {
    const { label, problems } = readLabel(device, nodeCrc32);
    if (!label) {
      const text = 'it has no label: stage 1 will pass it over';
      return { path, ...id, state: 'unformatted', problems: [text], hint: `diskdump format ${path}` };
    }
    const uuid = formatUuid(label.identity.uuid);
    const foreign = checkIdentity(label, device) ?? machineProblem(label);
    if (foreign) return { path, ...id, uuid, state: 'foreign', problems: [foreign] };
    return {
      path,
      ...id,
      uuid,
      label,
      state: STATE_WORDS[label.state.state],
      problems: [...problems, ...stateProblems(device, label)],
    };
  });
}

/** A device that moved here with its label: stage 1 would refuse it as another machine's. */
function machineProblem({ identity }: Label): string | undefined {
  const [theirs, ours] = [hexBytes(identity.machineId), machineId()];
  if (/^0*$/.test(theirs) || ours === '' || theirs === ours) return undefined;
  return `it was formatted by another machine (machine id ${theirs}, this one is ${ours})`;
}

function stateProblems(device: ThreadedDevice, label: Label): string[] {
  switch (label.state.state) {
    case 'ready': {
      // All blocks of a terabyte are for `diskdump check`; a sample is read in less than a second.
      const problem = label.identity.sampleRate === 0 ? undefined : checkSignatures(device, label);
      return problem ? [problem.message] : [];
    }
    case 'saved':
      return [];
    default:
      return ['it holds a dump that is not saved yet: stage 1 will not touch it'];
  }
}

/** A disk that does not answer is an answer after its deadline, not a command that nobody can end. */
function withDevice<T>(path: string, writable: boolean, use: (device: ThreadedDevice) => T): T {
  const device = ThreadedDevice.open(path, { writable });
  try {
    return use(device);
  } finally {
    device.shutdown();
  }
}

function compareLabel(device: InspectedDevice, { identity }: Label, config: Config, file: string): void {
  const pairs = [
    ['sample_rate', config.sampleRate, identity.sampleRate],
    ['block_order', config.blockOrder, identity.blockOrder],
    ['log_area_kib', config.logAreaBytes / 1024, identity.logAreaBytes / 1024],
  ] as const;
  for (const [key, configured, formatted] of pairs) {
    if (!config.stated.has(key) || configured === formatted) continue;
    throw new UsageError(
      'CONFIG_DIFFERS',
      `${file}: ${key} is ${configured}, ${device.path} was formatted with ${formatted}, which is what counts`,
      { key, path: device.path, configured, formatted },
      `change the file, or format the device again: diskdump format ${device.path}`,
    );
  }
}

/** Paths to one disk: the same hardware, the same place on it. */
function isSameDisk(a: InspectedDevice, b: InspectedDevice): boolean {
  const [x, y] = [a.id, b.id];
  if (!x || !y || x.start !== y.start || x.size !== y.size) return false;
  return (x.wwid !== '' && x.wwid === y.wwid) || (x.wwid === '' && x.serial !== '' && x.serial === y.serial);
}
