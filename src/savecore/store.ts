/** Where saved dumps live: the few file-system operations that stage 2 needs, so that the simulator can cut each one. */

import type { ByteSink } from '../base/sink.ts';
import type { ByteSource } from '../base/source.ts';

/**
 * A directory of crash directories, `/var/crash` as a rule. Paths are relative to it, with `/` between parts.
 *
 * To add one: every operation is done when it returns, in the volatile sense; `syncDirectory` and a sink's `flush` make
 * it durable. `rename` is atomic and replaces nothing. Failures are `DeviceError`s.
 */
export interface SaveStore {
  /** What to call it in messages and results: its absolute path. */
  readonly name: string;
  /** Names of the entries of a directory, unsorted; empty when it does not exist. */
  list(directory: string): string[];
  /** The bytes of a small file, or `undefined` when there is no regular file, or one of over 4 MiB. Links are not followed. */
  readSmall(path: string): Uint8Array | undefined;
  /** Bytes of a regular file, or `undefined` when there is none. Links are not followed. */
  fileSize(path: string): number | undefined;
  /** Bytes that may still be written. */
  freeBytes(): number;
  makeDirectory(path: string): void;
  /** A new file, mode 0600. Fails when it exists. `close` releases it without a flush. */
  create(path: string): ByteSink & { close(): void };
  /** An existing file. With `cold`, as far as the system allows, what is read comes from the medium. */
  open(path: string, cold: boolean): ByteSource & { close(): void };
  rename(from: string, to: string): void;
  /** Removes a directory with the files in it; nothing happens when it does not exist. */
  removeDirectory(path: string): void;
  syncDirectory(path: string): void;
}
