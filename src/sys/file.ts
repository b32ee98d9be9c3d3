/** Files as the dump path needs them: opened past the page cache, holes punched, cached pages dropped. */

import { constants, openSync } from 'node:fs';
import { nativeCalls } from './native.ts';

/** How a device or file is opened. */
export interface OpenMode {
  readonly writable: boolean;
  /** O_DIRECT: transfers go between the caller's page-aligned memory and the disk. */
  readonly direct: boolean;
  /** O_EXCL: on a block device, fails with EBUSY while something mounts or holds it. */
  readonly exclusive: boolean;
}

/** Opens an existing file or device; never creates one. Throws what `node:fs` throws. */
export function openPath(path: string, mode: OpenMode): number {
  let flags = mode.writable ? constants.O_RDWR : constants.O_RDONLY;
  if (mode.direct) flags |= constants.O_DIRECT ?? 0;
  if (mode.exclusive) flags |= constants.O_EXCL;
  return openSync(path, flags | constants.O_NOCTTY);
}

/** Source: Linux `include/uapi/linux/falloc.h`. */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

/** Gives a file's blocks back; the range reads as zeros afterwards. False where that cannot be asked. */
export function punchHole(fd: number, offset: number, length: number): boolean {
  return nativeCalls()?.fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length) === 0;
}

/** Source: Linux `include/uapi/linux/fs.h`. */
const SEEK_DATA = 3;
/** Source: Linux `include/uapi/asm-generic/errno-base.h`. */
const ENXIO = 6;

/** The first offset at or after `offset` of an open file that is no hole, `size` where all the rest is one. */
export function seekData(fd: number, offset: number, size: number): number {
  const calls = nativeCalls();
  const found = calls ? calls.lseek(fd, offset, SEEK_DATA) : offset;
  if (found >= 0) return found;
  return calls?.errno() === ENXIO ? size : offset;
}

/** Source: POSIX `posix_fadvise`; Linux `include/uapi/linux/fadvise.h`. */
const POSIX_FADV_DONTNEED = 4;

/** Drops a file's clean pages from the page cache, whole file when `length` is 0. False where that cannot be asked. */
export function dropCached(fd: number, offset = 0, length = 0): boolean {
  return nativeCalls()?.posixFadvise(fd, offset, length, POSIX_FADV_DONTNEED) === 0;
}

/** Source: Linux `include/uapi/asm-generic/fcntl.h`. */
const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Takes a file or directory for this open descriptor alone, until it is closed. False where another has it; true also where it
 * cannot be asked.
 */
export function lockFile(fd: number): boolean {
  const calls = nativeCalls();
  return calls === undefined || calls.flock(fd, LOCK_EX | LOCK_NB) === 0;
}
