/** The save directory on a real file system. */

import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { DeviceError, type DeviceFailure, UsageError } from '../base/errors.ts';
import type { ByteSink } from '../base/sink.ts';
import type { ByteSource } from '../base/source.ts';
import type { SaveStore } from '../savecore/store.ts';
import { errnoWords } from '../sys/errno.ts';
import { lockFile } from '../sys/file.ts';

/** Largest file that {@link SaveStore.readSmall} reads, in bytes. */
const SMALL_MAX = 4 * 2 ** 20;
/** Dumps hold secrets: nobody but the owner reads them. */
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/**
 * A store below `root`, which is made when missing.
 *
 * @param dropCache forgets what the page cache holds of an open file, so that a verification reads the medium; absent
 *   where the system cannot
 * @throws UsageError `SAVE_DIRECTORY` where something else has that name.
 */
export function openSaveStore(root: string, dropCache?: (fd: number) => void): SaveStore {
  makeRoot(root);
  const at = (path: string): string => (path === '' ? root : join(root, path));
  return {
    name: root,
    list: (directory) => listDirectory(at(directory)),
    readSmall: (path) => readSmallFile(at(path)),
    fileSize: (path) => fileSize(at(path)),
    freeBytes() {
      const { bavail, bsize } = failing(root, 'probe', () => statfsSync(root));
      return bavail * bsize;
    },
    makeDirectory: (path) => failing(at(path), 'write', () => void mkdirSync(at(path), { mode: DIRECTORY_MODE })),
    create: (path) => createFile(at(path)),
    open: (path, cold) => openFile(at(path), cold ? dropCache : undefined),
    rename(from, to) {
      const target = at(to);
      if (exists(target)) throw storeError(target, 'write', { code: 'EEXIST' });
      failing(target, 'write', () => renameSync(at(from), target));
    },
    removeDirectory: (path) => failing(at(path), 'write', () => rmSync(at(path), { recursive: true, force: true })),
    syncDirectory: (path) => syncDirectory(at(path)),
  };
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw storeError(path, 'read', error);
  }
}

function makeRoot(root: string): void {
  try {
    mkdirSync(root, { recursive: true, mode: 0o755 });
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST' && code !== 'ENOTDIR') throw storeError(root, 'open', error);
    throw new UsageError(
      'SAVE_DIRECTORY',
      `saving to ${root}: ${code === 'EEXIST' ? 'it' : 'a part of that path'} is not a directory`,
      { path: root, errno: code },
      'name a directory with --to, or as save.directory in the configuration; the dump stays on its device',
      error,
    );
  }
}

/** Opens without waiting for anybody, and only a regular file: what lies in a crash directory may be anything. */
function readSmallFile(path: string): Uint8Array | undefined {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (error) {
    if (ABSENT.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw storeError(path, 'read', error);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > SMALL_MAX) return undefined;
    const bytes = new Uint8Array(stat.size);
    const length = failing(path, 'read', () => readSync(fd, bytes, 0, bytes.length, 0));
    return bytes.subarray(0, length);
  } finally {
    closeSync(fd);
  }
}

/** What opening says of a path that is no file of ours: not there, a link, a socket. */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'];

function fileSize(path: string): number | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  return stat?.isFile() ? stat.size : undefined;
}

/**
 * Takes the store for this process, so that two runs of `save` do not write the same directory.
 *
 * @returns what lets go. @throws DeviceError with errno `EBUSY` while another run has it.
 */
export function lockSaveStore(root: string): () => void {
  makeRoot(root);
  const fd = failing(root, 'open', () => openSync(root, constants.O_RDONLY | constants.O_DIRECTORY));
  if (lockFile(fd)) return () => closeSync(fd);
  closeSync(fd);
  const failure = { device: root, operation: 'open', errno: 'EBUSY' } as const;
  throw new DeviceError('SAVE_BUSY', `another \`diskdump save\` is writing to ${root}`, failure, 'wait for it to end');
}

function createFile(path: string): ByteSink & { close(): void } {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const fd = failing(path, 'open', () => openSync(path, flags, FILE_MODE));
  return {
    name: path,
    forwardOnly: false,
    write(bytes, offset) {
      for (let done = 0; done < bytes.length; ) {
        done += failing(
          path,
          'write',
          () => writeSync(fd, bytes, done, bytes.length - done, offset + done),
          offset + done,
        );
      }
    },
    flush: () => failing(path, 'flush', () => fdatasyncSync(fd)),
    close: () => failing(path, 'shutdown', () => closeSync(fd)),
  };
}

function openFile(path: string, dropCache: ((fd: number) => void) | undefined): ByteSource & { close(): void } {
  const fd = failing(path, 'open', () => openSync(path, constants.O_RDONLY));
  dropCache?.(fd);
  const size = failing(path, 'probe', () => fstatSync(fd).size);
  return {
    name: path,
    size,
    readInto(target, offset) {
      let done = 0;
      while (done < target.length) {
        const got = failing(
          path,
          'read',
          () => readSync(fd, target, done, target.length - done, offset + done),
          offset,
        );
        if (got === 0) break;
        done += got;
      }
      return done;
    },
    close: () => failing(path, 'shutdown', () => closeSync(fd)),
  };
}

function syncDirectory(path: string): void {
  const fd = failing(path, 'open', () => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY));
  try {
    failing(path, 'flush', () => fsyncSync(fd));
  } finally {
    closeSync(fd);
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function failing<T>(path: string, operation: DeviceFailure['operation'], act: () => T, offset?: number): T {
  try {
    return act();
  } catch (error) {
    throw storeError(path, operation, error, offset);
  }
}

function storeError(path: string, operation: DeviceFailure['operation'], error: unknown, offset?: number): DeviceError {
  const errno = (error as NodeJS.ErrnoException).code ?? 'EIO';
  const failure = { device: path, operation, errno, ...(offset === undefined ? {} : { offset }) };
  return new DeviceError(
    'SAVE_STORE',
    `${operation} of ${path}: ${errnoWords(errno)}`,
    failure,
    STORE_HINTS[errno],
    error,
  );
}

const STORE_HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'free space there or choose another place with --to; the dump stays on its device',
  EROFS: 'mount it writable or choose another place with --to; the dump stays on its device',
  EACCES: 'saving needs root, or a place of your own with --to; the dump stays on its device',
  EPERM: 'saving needs root, or a place of your own with --to; the dump stays on its device',
};
