/** Files and block devices as byte sources. */

import { closeSync, fstatSync, openSync, readFileSync, readSync, type Stats } from 'node:fs';
import { DeviceError, NoDataError } from '../base/errors.ts';
import type { ByteSource } from '../base/source.ts';
import { errnoWords } from '../sys/errno.ts';
import { seekData } from '../sys/file.ts';

/** A {@link ByteSource} that holds a file open. */
export interface FileSource extends ByteSource {
  /** Lets go of the file. Reading afterwards is a bug. */
  close(): void;
}

/**
 * Opens a regular file, a block device or a /proc file for reading.
 *
 * @throws NoDataError where the path cannot be opened for reading, or only from front to end; DeviceError where its size cannot be had.
 */
export function openFileSource(path: string): FileSource {
  const fd = openForReading(path);
  try {
    return fileSource(fd, path, sizeOf(fd, path));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function fileSource(fd: number, path: string, size: number): FileSource {
  return {
    name: path,
    size,
    readInto(target, offset) {
      let done = 0;
      for (const end = Math.min(target.length, Math.max(0, size - offset)); done < end; ) {
        const got = readOnce(fd, path, target, done, end - done, offset + done);
        if (got === 0) break;
        done += got;
      }
      return done;
    },
    dataFrom: (offset) => seekData(fd, offset, size),
    close: () => closeSync(fd),
  };
}

function readOnce(fd: number, path: string, target: Uint8Array, at: number, length: number, offset: number): number {
  try {
    return readSync(fd, target, at, length, offset);
  } catch (error) {
    throw failure('FILE_READ', 'read', path, error, offset, length);
  }
}

function openForReading(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const errno = errnoOf(error);
    throw new NoDataError(
      'FILE_OPEN',
      `opening ${path}: ${errnoWords(errno)}`,
      { path, errno },
      OPEN_HINTS[errno],
      error,
    );
  }
}

const OPEN_HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'is the path right? `diskdump list` shows the saved dumps',
  ENOTDIR: 'is the path right? `diskdump list` shows the saved dumps',
  ENXIO: 'is it a socket, or a device that is gone?',
  EACCES: 'dumps are readable by root only; try again as root',
  EPERM: 'dumps are readable by root only; try again as root',
};

function sizeOf(fd: number, path: string): number {
  const stat = fstatSync(fd);
  if (stat.isDirectory()) throw new NoDataError('FILE_IS_DIRECTORY', `opening ${path}: it is a directory`, { path });
  if (stat.isFIFO() || stat.isSocket() || stat.isCharacterDevice())
    throw new NoDataError(
      'FILE_IS_STREAM',
      `opening ${path}: it is ${stat.isFIFO() ? 'a pipe' : stat.isSocket() ? 'a socket' : 'a character device'}, which can only be read from front to end`,
      { path },
      'a dump is read here and there: store it in a file first',
    );
  return stat.isBlockDevice() ? blockDeviceSize(stat, path) : stat.size;
}

/** Bytes of a block device: its stat says 0, sysfs has 512-byte sectors whatever the logical block. */
function blockDeviceSize(stat: Stats, path: string): number {
  const major = Math.floor(stat.rdev / 256) & 0xfff;
  // Source: glibc `gnu_dev_minor`: the low 8 bits, and what lies above the 12 bits of the major number.
  const minor = (stat.rdev & 0xff) | ((Math.floor(stat.rdev / 4096) & 0xffffff00) >>> 0);
  try {
    return 512 * Number.parseInt(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'ascii'), 10);
  } catch (error) {
    throw failure('DEVICE_SIZE', 'probe', path, error);
  }
}

function failure(
  code: string,
  operation: 'read' | 'probe',
  path: string,
  error: unknown,
  offset?: number,
  length?: number,
): DeviceError {
  const errno = errnoOf(error);
  const where = offset === undefined ? '' : ` ${length} bytes at ${offset}`;
  return new DeviceError(
    code,
    `${operation}${where} of ${path}: ${errnoWords(errno)}`,
    {
      device: path,
      operation,
      errno,
      ...(offset === undefined ? {} : { offset }),
      ...(length === undefined ? {} : { length }),
    },
    undefined,
    error,
  );
}

function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
