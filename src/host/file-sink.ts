/** Files as byte sinks. */

import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { DeviceError, type DeviceFailure } from '../base/errors.ts';
import type { ByteSink } from '../base/sink.ts';
import { errnoWords } from '../sys/errno.ts';

/** A {@link ByteSink} that holds a file open. */
export interface FileSink extends ByteSink {
  close(): void;
}

/**
 * Makes a new file, readable by its owner alone: dumps hold secrets.
 *
 * @throws DeviceError where the file is there already or cannot be made.
 */
export function createFileSink(path: string): FileSink {
  const fd = guarded(path, 'open', undefined, undefined, () => openSync(path, 'wx', 0o600));
  return {
    name: path,
    forwardOnly: false,
    write(bytes, offset) {
      for (let done = 0; done < bytes.length; ) {
        done += guarded(path, 'write', offset + done, bytes.length - done, () =>
          writeSync(fd, bytes, done, bytes.length - done, offset + done),
        );
      }
    },
    flush: () => guarded(path, 'flush', undefined, undefined, () => fsyncSync(fd)),
    close: () => closeSync(fd),
  };
}

function guarded<T>(
  path: string,
  operation: DeviceFailure['operation'],
  offset: number | undefined,
  length: number | undefined,
  act: () => T,
): T {
  try {
    return act();
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new DeviceError(
      'FILE_WRITE',
      `${operation}${offset === undefined ? '' : ` of ${length} bytes at ${offset}`} of ${path}: ${errnoWords(errno)}`,
      { device: path, operation, errno, ...(offset === undefined ? {} : { offset }) },
      errno === 'ENOSPC' ? 'free some space, or write to another file system' : undefined,
      error,
    );
  }
}
