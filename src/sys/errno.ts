/** Error numbers as names and as words, and the errors of `node:fs` as {@link DeviceError}s. */

import { getSystemErrorMap } from 'node:util';
import { DeviceError, type DeviceFailure } from '../base/errors.ts';
import { hex } from '../base/hex.ts';

/** `EIO` for 5; `errno 12345` for a number that has no name. */
export function errnoName(errno: number): string {
  return getSystemErrorMap().get(-Math.abs(errno))?.[0] ?? `errno ${Math.abs(errno)}`;
}

/** The number of a name such as `EIO`, or 0. */
export function errnoNumber(name: string): number {
  for (const [number, [known]] of getSystemErrorMap()) if (known === name) return -number;
  return 0;
}

/** What an error number means, with its name behind: `no such file or directory (ENOENT)`; a name that is not known alone. */
export function errnoWords(name: string): string {
  const words = WORDS[name] ?? getSystemErrorMap().get(-errnoNumber(name))?.[1];
  return words === undefined ? name : `${words} (${name})`;
}

/** Where the system's own words are those of another trade: sockets, or processes. */
const WORDS: Readonly<Record<string, string>> = {
  EIO: 'the disk reports an error',
  EBUSY: 'it is in use',
  ETIMEDOUT: 'no answer in time',
  ENODEV: 'it is no disk, partition or file, or the device is gone',
};

/** The positive error number of what `node:fs` threw, or `undefined` when it is no system error. */
export function errnoOf(error: unknown): number | undefined {
  const errno = (error as { errno?: unknown } | undefined)?.errno;
  return typeof errno === 'number' ? Math.abs(errno) : undefined;
}

/** The failure of one device operation, in one form for every driver: `write of 512 bytes at 0x0 of /dev/vdb: … (EIO)`. */
export function deviceError(failure: DeviceFailure & { device: string }, cause?: unknown): DeviceError {
  const { device, operation, offset, length, errno } = failure;
  const where = offset === undefined ? device : `${length ?? 0} bytes at ${hex(offset)} of ${device}`;
  return new DeviceError(
    `DEVICE_${operation.toUpperCase()}`,
    `${operation} of ${where}: ${errno === undefined ? 'failed' : errnoWords(errno)}`,
    failure,
    HINTS[errno ?? ''],
    cause,
  );
}

const HINTS: Readonly<Record<string, string>> = {
  EIO: 'the kernel log says what the disk answered',
  EBUSY: 'something mounts or holds the device: see /proc/mounts and /sys/class/block/NAME/holders',
  EROFS: 'the device or its medium is write-protected',
  EACCES: 'a block device opens for root only, a file for its owner',
  EPERM: 'a block device opens for root only, a file for its owner',
  ENOENT: 'is the path right? if it is, the device is gone, or its driver is not loaded',
  ENXIO: 'the device is gone, or its driver is not loaded',
  ENODEV: 'a dump device is a disk, a partition or a file; `lsblk` lists the disks',
  ETIMEDOUT: 'the disk did not answer in time; it is not used again',
};
