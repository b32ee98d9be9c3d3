/** What the kernel says about an open block device: ioctls where koffi loads, /sys where it does not. */

import { existsSync, fstatSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { latin1 } from '../base/cursor.ts';
import { deviceError } from './errno.ts';
import { nativeCalls } from './native.ts';

/** Source: Linux `include/uapi/linux/fs.h`; the numbers are those of x86, arm64 and riscv. */
const BLKROGET = 0x125e;
const BLKRRPART = 0x125f;
const BLKFLSBUF = 0x1261;
const BLKSSZGET = 0x1268;
const BLKDISCARD = 0x1277;
const BLKGETSIZE64 = 0x80081272;

/** Unit of `size` and `start` in /sys, whatever the device's logical block. */
const SYSFS_SECTOR = 512;

/** A block device as the kernel sees it now. */
export interface BlockFacts {
  readonly major: number;
  readonly minor: number;
  /** Bytes. */
  readonly size: number;
  /** Logical block in bytes. */
  readonly logicalBlock: number;
  readonly readOnly: boolean;
  /** Bytes from the start of the whole disk; 0 for a whole disk. */
  readonly start: number;
  /** Serial number of the whole disk, or '' where it tells none. */
  readonly serial: string;
}

/** Facts of the block device open as `fd`. Throws a `DeviceError` when neither ioctl nor /sys tells its size. */
export function readBlockFacts(fd: number, name: string, sysRoot = '/sys'): BlockFacts {
  const { major, minor } = deviceNumber(fstatSync(fd).rdev);
  const folder = sysfsFolder(major, minor, sysRoot);
  const size = ioctlU64(fd, BLKGETSIZE64) ?? sysfsBytes(folder, 'size');
  if (size === undefined) throw deviceError({ device: name, operation: 'probe', errno: 'ENXIO' });
  return {
    major,
    minor,
    size,
    logicalBlock: ioctlU32(fd, BLKSSZGET) ?? sysfsNumber(diskFolder(folder), 'queue/logical_block_size') ?? 512,
    readOnly: (ioctlU32(fd, BLKROGET) ?? sysfsNumber(folder, 'ro') ?? 0) !== 0,
    start: sysfsBytes(folder, 'start') ?? 0,
    serial: readSerial(diskFolder(folder)),
  };
}

/** Major and minor of a `st_rdev`. Source: glibc `sys/sysmacros.h`, `gnu_dev_major`. */
export function deviceNumber(rdev: number): { major: number; minor: number } {
  const low = (rdev % 2 ** 32) >>> 0;
  const high = Math.floor(rdev / 2 ** 32) >>> 0;
  return {
    major: (((low >>> 8) & 0xfff) | (high & 0xfffff000)) >>> 0,
    minor: ((low & 0xff) | ((low >>> 12) & 0xfff00)) >>> 0,
  };
}

/** Folder of a block device in /sys, links resolved, or `undefined` where /sys does not have it. */
export function sysfsFolder(major: number, minor: number, sysRoot = '/sys'): string | undefined {
  try {
    return realpathSync(join(sysRoot, 'dev/block', `${major}:${minor}`));
  } catch {
    return undefined;
  }
}

/** Folder of the whole disk: the parent of a partition's, else the folder itself. */
export function diskFolder(folder: string | undefined): string | undefined {
  return folder !== undefined && existsSync(join(folder, 'partition')) ? dirname(folder) : folder;
}

/**
 * Serial number of a whole disk. virtio-blk and zram keep it beside the queue, NVMe and MMC on the parent device, SCSI in the
 * unit serial number page (VPD 0x80), loop devices have none.
 */
export function readSerial(disk: string | undefined): string {
  if (disk === undefined) return '';
  for (const file of ['serial', 'device/serial', 'device/../serial']) {
    const text = sysfsText(disk, file);
    if (text) return text.slice(0, SERIAL_MAX);
  }
  const page = sysfsRaw(disk, 'device/vpd_pg80');
  if (page && page.length > 4) return latin1(page.subarray(4)).trim().slice(0, SERIAL_MAX);
  return '';
}

/** What a label has room for. */
const SERIAL_MAX = 63;

/** World-wide name of a disk, or ''. SCSI, NVMe and some virtio disks have one. */
export function readWwid(disk: string): string {
  return sysfsText(disk, 'wwid') || sysfsText(disk, 'device/wwid') || '';
}

/** Names of what is built on the device: `dm-0`, `md127`. Empty where nothing holds it. */
export function readHolders(folder: string): string[] {
  return sysfsList(folder, 'holders');
}

/** Names of what the device is built of: the legs of a mapping or an array. */
export function readSlaves(folder: string): string[] {
  return sysfsList(folder, 'slaves');
}

/** Kernel name of the device of a folder, such as `vda1`. `!` in it stands for a slash. */
export function kernelName(folder: string): string {
  return basename(folder).replaceAll('!', '/');
}

/** Writes out and drops the kernel's buffers of the device. False where that cannot be asked. */
export function flushBuffers(fd: number): boolean {
  return nativeCalls()?.ioctl(fd, BLKFLSBUF, null) === 0;
}

/** Tells the device that a range is no longer needed; what it reads there afterwards is not defined. False where it cannot. */
export function discardRange(fd: number, offset: number, length: number): boolean {
  const range = new Uint8Array(new BigUint64Array([BigInt(offset), BigInt(length)]).buffer);
  return nativeCalls()?.ioctl(fd, BLKDISCARD, range) === 0;
}

/** Makes the kernel look for partitions again. False where that cannot be asked, or a partition is in use. */
export function rereadPartitions(fd: number): boolean {
  return nativeCalls()?.ioctl(fd, BLKRRPART, null) === 0;
}

/** Text of a file below a /sys folder, trimmed, or `undefined`. */
export function sysfsText(folder: string | undefined, file: string): string | undefined {
  const bytes = sysfsRaw(folder, file);
  return bytes && latin1(bytes).trim();
}

/** A number in a file below a /sys folder, or `undefined`. */
export function sysfsNumber(folder: string | undefined, file: string): number | undefined {
  const text = sysfsText(folder, file);
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** A count of 512-byte sectors in /sys, in bytes. */
export function sysfsBytes(folder: string | undefined, file: string): number | undefined {
  const sectors = sysfsNumber(folder, file);
  return sectors === undefined ? undefined : sectors * SYSFS_SECTOR;
}

function sysfsRaw(folder: string | undefined, file: string): Uint8Array | undefined {
  if (folder === undefined) return undefined;
  try {
    return readFileSync(join(folder, file));
  } catch {
    return undefined;
  }
}

function sysfsList(folder: string, name: string): string[] {
  try {
    return readdirSync(join(folder, name)).sort();
  } catch {
    return [];
  }
}

function ioctlU32(fd: number, request: number): number | undefined {
  const value = new Uint32Array(1);
  return nativeCalls()?.ioctl(fd, request, new Uint8Array(value.buffer)) === 0 ? value[0] : undefined;
}

function ioctlU64(fd: number, request: number): number | undefined {
  const value = new BigUint64Array(1);
  return nativeCalls()?.ioctl(fd, request, new Uint8Array(value.buffer)) === 0 ? Number(value[0]) : undefined;
}
