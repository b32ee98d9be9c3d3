/** The block devices of this machine by /sys: what they are, who uses them, and how to know one again after a crash. */

import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../base/errors.ts';
import {
  deviceNumber,
  diskFolder,
  kernelName,
  readHolders,
  readSerial,
  readSlaves,
  readWwid,
  sysfsBytes,
  sysfsFolder,
  sysfsNumber,
  sysfsText,
} from '../sys/block.ts';

/** Where /sys, /proc and /dev are, so that a test can lay out a machine. */
export interface SystemRoots {
  readonly sys: string;
  readonly proc: string;
  readonly dev: string;
}

export const SYSTEM_ROOTS: SystemRoots = { sys: '/sys', proc: '/proc', dev: '/dev' };

/** `disk`: a whole one; `mapped`: what device-mapper, md or bcache builds over others. */
export type BlockKind = 'disk' | 'partition' | 'mapped' | 'loop' | 'memory';

/** One block device. */
export interface BlockDeviceInfo {
  /** `/dev/vda1`. */
  readonly path: string;
  /** Kernel name: `vda1`. */
  readonly name: string;
  readonly major: number;
  readonly minor: number;
  readonly kind: BlockKind;
  /** Bytes. */
  readonly size: number;
  /** Bytes from the start of the disk. */
  readonly start: number;
  /** Logical block in bytes. */
  readonly logicalBlock: number;
  readonly readOnly: boolean;
  readonly removable: boolean;
  /** True for a spinning disk. */
  readonly rotational: boolean;
  readonly serial: string;
  readonly wwid: string;
  /** What the maker calls it, or ''. */
  readonly model: string;
  /** Name of the whole disk: its own for one. */
  readonly disk: string;
  /** Partitions of it, by name. */
  readonly partitions: readonly string[];
  /** Names of what is built on it. */
  readonly holders: readonly string[];
  /** Names of what it is built of. */
  readonly slaves: readonly string[];
  /** Folder in /sys, links resolved, from below /sys on: the way through buses to the device. */
  readonly sysPath: string;
}

/** What is noted when a machine is armed, and looked for in its capture kernel, where names may differ. */
export interface DeviceId {
  readonly serial: string;
  readonly wwid: string;
  /** The way to the disk in /sys, without its kernel name: `devices/pci0000:00/0000:00:05.0/virtio2/block`. */
  readonly bus: string;
  /** Bytes from the start of the disk, 0 for a whole disk. */
  readonly start: number;
  /** Bytes. */
  readonly size: number;
}

const DEVICES_MAX = 65536;

/** All block devices that have a size, in the order of their names. */
export function listBlockDevices(roots: SystemRoots = SYSTEM_ROOTS): BlockDeviceInfo[] {
  let names: string[];
  try {
    names = readdirSync(join(roots.sys, 'class/block')).slice(0, DEVICES_MAX);
  } catch {
    return [];
  }
  return names
    .flatMap((name) => readDeviceFolder(join(roots.sys, 'class/block', name), roots) ?? [])
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** The block device at `path` (links are followed), or `undefined` where the path is none. Throws what `stat` throws. */
export function readBlockDevice(path: string, roots: SystemRoots = SYSTEM_ROOTS): BlockDeviceInfo | undefined {
  const stat = statSync(path);
  if (!stat.isBlockDevice()) return undefined;
  const { major, minor } = deviceNumber(stat.rdev);
  const folder = sysfsFolder(major, minor, roots.sys);
  return folder === undefined ? undefined : readDeviceFolder(folder, roots);
}

/**
 * What to note of a dump device so that the capture kernel finds it.
 *
 * @throws UsageError for a device that exists only through software which the capture kernel does not start.
 */
export function identifyDevice(path: string, roots: SystemRoots = SYSTEM_ROOTS): DeviceId {
  const device = readBlockDevice(path, roots);
  if (device === undefined)
    throw new UsageError(
      'NOT_A_BLOCK_DEVICE',
      `${path} is ${statSync(path).isFile() ? 'a file, which serves only to try `diskdump capture --to`' : 'not a block device'}`,
      { path },
      'the capture kernel mounts nothing: name a disk or a partition',
    );
  if (device.kind === 'mapped' || device.kind === 'loop' || device.kind === 'memory') {
    const over = device.slaves.length > 0 ? ` over ${device.slaves.join(', ')}` : '';
    throw new UsageError(
      'DEVICE_NOT_FOUND_AT_PANIC',
      `${path} is ${KIND_WORDS[device.kind]}${over}, which does not exist in the capture kernel`,
      { path, kind: device.kind, slaves: device.slaves },
      'name a disk or a partition',
    );
  }
  return { serial: device.serial, wwid: device.wwid, bus: busOf(device), start: device.start, size: device.size };
}

const KIND_WORDS = {
  mapped: 'a mapped device',
  loop: 'a loop device',
  memory: 'memory',
} as const;

/**
 * Devices that fit an id, best first: by world-wide name, by serial number, by the way through the buses; then, where the id
 * has none of those that the device has, by start and size alone. The label's UUID decides.
 */
export function findDevices(id: DeviceId, devices: readonly BlockDeviceInfo[]): BlockDeviceInfo[] {
  return devices
    .map((device) => ({ device, fit: fitOf(id, device) }))
    .filter(({ fit }) => fit > 0)
    .sort((a, b) => b.fit - a.fit)
    .map(({ device }) => device);
}

/** How well a device fits: 0 not at all. */
function fitOf(id: DeviceId, device: BlockDeviceInfo): number {
  if (device.start !== id.start || device.size !== id.size) return 0;
  if (id.wwid !== '' && device.wwid !== '') return device.wwid === id.wwid ? 4 : 0;
  if (id.serial !== '' && device.serial !== '') return device.serial === id.serial ? 3 : 0;
  return id.bus !== '' && busOf(device) === id.bus ? 2 : 1;
}

/** The way to the disk without names that the kernel deals out in the order of discovery (`vda`, `sda`, `host2`). */
function busOf(device: BlockDeviceInfo): string {
  const parts = device.sysPath.split('/');
  const block = parts.lastIndexOf('block');
  const way = block >= 0 ? parts.slice(0, block) : parts.slice(0, -1);
  return way.map((part) => part.replace(/^(host|target|rport-|virtio|ata|usb|nvme)[\d:.-]+$/, '$1')).join('/');
}

function readDeviceFolder(link: string, roots: SystemRoots): BlockDeviceInfo | undefined {
  let folder: string;
  try {
    folder = realpathSync(link);
  } catch {
    return undefined;
  }
  const [major, minor] = (sysfsText(folder, 'dev') ?? '').split(':').map(Number);
  const size = sysfsBytes(folder, 'size') ?? 0;
  if (major === undefined || minor === undefined || size === 0) return undefined;
  const disk = diskFolder(folder) as string;
  const name = kernelName(folder);
  return {
    path: join(roots.dev, name),
    name,
    major,
    minor,
    kind: kindOf(name, folder, disk),
    size,
    start: sysfsBytes(folder, 'start') ?? 0,
    logicalBlock: sysfsNumber(disk, 'queue/logical_block_size') ?? 512,
    readOnly: sysfsNumber(folder, 'ro') === 1,
    removable: sysfsNumber(disk, 'removable') === 1,
    rotational: sysfsNumber(disk, 'queue/rotational') === 1,
    serial: readSerial(disk),
    wwid: readWwid(disk),
    model: sysfsText(disk, 'device/model') ?? '',
    disk: kernelName(disk),
    partitions: disk === folder ? partitionsOf(folder) : [],
    holders: readHolders(folder),
    slaves: readSlaves(folder),
    sysPath: folder.slice(roots.sys.length + 1),
  };
}

function kindOf(name: string, folder: string, disk: string): BlockKind {
  if (/^(dm-|md|bcache)/.test(kernelName(disk))) return 'mapped';
  if (/^loop/.test(name)) return 'loop';
  if (/^(zram|ram|brd)/.test(name)) return 'memory';
  return folder === disk ? 'disk' : 'partition';
}

function partitionsOf(folder: string): string[] {
  return readdirSync(folder).filter((entry) => sysfsText(folder, `${entry}/partition`) !== undefined);
}

/** Where a device is mounted: its own mount points and those of file systems that name it as their source. */
export function findMounts(device: BlockDeviceInfo, roots: SystemRoots = SYSTEM_ROOTS): string[] {
  const mounts: string[] = [];
  for (const line of readLines(join(roots.proc, 'self/mountinfo'))) {
    // Source: Linux `Documentation/filesystems/proc.rst`, 3.5: id parent major:minor root mountpoint … - type source options.
    const [before, after] = line.split(' - ');
    const fields = before?.split(' ') ?? [];
    const source = unescapeMount(after?.split(' ')[1] ?? '');
    const sameNumber = fields[2] === `${device.major}:${device.minor}`;
    // btrfs shows a number of its own, so the source counts as well.
    if (sameNumber || source === device.path || sameDevice(source, device)) mounts.push(unescapeMount(fields[4] ?? ''));
  }
  return mounts;
}

/** True when the kernel swaps to the device. */
export function isSwap(device: BlockDeviceInfo, roots: SystemRoots = SYSTEM_ROOTS): boolean {
  return readLines(join(roots.proc, 'swaps')).some((line) => {
    const source = unescapeMount(line.split(/\s/)[0] ?? '');
    return source === device.path || sameDevice(source, device);
  });
}

function sameDevice(path: string, device: BlockDeviceInfo): boolean {
  if (!path.startsWith('/')) return false;
  try {
    const stat = statSync(path);
    const { major, minor } = deviceNumber(stat.rdev);
    return stat.isBlockDevice() && major === device.major && minor === device.minor;
  } catch {
    return false;
  }
}

/** /proc writes blank, tab, line feed and backslash as three octal digits. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean);
  } catch {
    return [];
  }
}
