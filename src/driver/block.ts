/** Dump device on a block device or a file: O_DIRECT where it can be had, fdatasync for flush. */

import { closeSync, fdatasyncSync, fstatSync, readSync, type Stats, statSync, writeSync } from 'node:fs';
import { roundDown } from '../base/cursor.ts';
import type { DeviceLocation, DumpDevice } from '../base/device.ts';
import { assert, type DeviceError, type DeviceFailure } from '../base/errors.ts';
import { discardRange, flushBuffers, readBlockFacts, rereadPartitions } from '../sys/block.ts';
import { deviceError, errnoName, errnoOf } from '../sys/errno.ts';
import { dropCached, lockFile, openPath, punchHole } from '../sys/file.ts';

/** How to open one. */
export interface BlockOptions {
  /** Default: true. */
  readonly writable?: boolean;
  /** Take a block device for us alone (O_EXCL); default: as `writable`. */
  readonly exclusive?: boolean;
  /** Try O_DIRECT; default: true. */
  readonly direct?: boolean;
  /** Largest transfer in bytes; default {@link BLOCK_TRANSFER}. */
  readonly maxTransfer?: number;
  /**
   * Page-aligned memory of the caller's (of a `WebAssembly.Memory`), in which all its transfers lie at page-aligned offsets.
   * Without it, transfers go through a bounce buffer of `maxTransfer` bytes.
   */
  readonly aligned?: ArrayBufferLike;
  readonly sysRoot?: string;
}

/** Largest transfer: what stage 1 writes at once. */
export const BLOCK_TRANSFER = 2 ** 20;

/** Block of a file in bytes: that of most disks, so that a disk's image is the same device, read here or in a guest. */
export const FILE_BLOCK = 512;

/** O_DIRECT memory lies on this boundary. */
const MEMORY_ALIGNMENT = 4096;

const WASM_PAGE = 65536;

/** Memory that O_DIRECT takes. V8 hands out a `WebAssembly.Memory` on a page boundary; a `Buffer` it does not. */
export function alignedMemory(bytes: number): Uint8Array {
  const pages = Math.ceil(bytes / WASM_PAGE);
  return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer, 0, bytes);
}

/** An open block device or file. */
export class BlockDevice implements DumpDevice {
  readonly name: string;
  readonly blockSize: number;
  readonly size: number;
  readonly maxTransfer: number;
  readonly location: DeviceLocation;
  readonly isBlockDevice: boolean;
  /** True when transfers pass the page cache by. */
  readonly direct: boolean;
  readonly #sysRoot: string;
  readonly #writable: boolean;
  readonly #aligned: ArrayBufferLike | undefined;
  /** For unaligned callers, and for the device's own probes. */
  readonly #bounce: Uint8Array;
  #fd: number;

  private constructor(path: string, options: BlockOptions, opened: OpenedPath) {
    const { writable = true, aligned, sysRoot = '/sys', maxTransfer = BLOCK_TRANSFER } = options;
    this.name = path;
    this.#fd = opened.fd;
    this.#sysRoot = sysRoot;
    this.#writable = writable;
    this.direct = opened.direct;
    this.isBlockDevice = opened.isBlockDevice;
    const facts = opened.isBlockDevice ? readBlockFacts(opened.fd, path, sysRoot) : undefined;
    this.blockSize = facts?.logicalBlock ?? FILE_BLOCK;
    this.size = roundDown(facts?.size ?? fstatSync(opened.fd).size, this.blockSize);
    this.location = { start: facts?.start ?? 0, serial: facts?.serial ?? '' };
    assert(maxTransfer % this.blockSize === 0, `transfers of ${maxTransfer} bytes to ${path}`);
    this.maxTransfer = maxTransfer;
    this.#aligned = aligned;
    this.#bounce = opened.bounce;
  }

  /** Opens `path`, which must exist. @throws DeviceError */
  static open(path: string, options: BlockOptions = {}): BlockDevice {
    const opened = openDirect(path, options);
    try {
      return new BlockDevice(path, options, opened);
    } catch (error) {
      closeSync(opened.fd);
      throw error;
    }
  }

  sanityCheck(): void {
    if (this.isBlockDevice) {
      const facts = this.#call('probe', undefined, undefined, () => readBlockFacts(this.#fd, this.name, this.#sysRoot));
      if (roundDown(facts.size, this.blockSize) !== this.size) throw this.#failed('probe', 'ENXIO');
      if (facts.readOnly && this.#writable) throw this.#failed('probe', 'EROFS');
    } else if (roundDown(fstatSync(this.#fd).size, this.blockSize) < this.size) {
      throw this.#failed('probe', 'ENXIO');
    }
    if (this.size > 0) this.#transfer('read', this.#bounce.subarray(0, this.blockSize), 0);
  }

  quiesce(): void {
    if (this.isBlockDevice && this.#writable && !flushBuffers(this.#fd)) this.flush();
  }

  read(target: Uint8Array, offset: number): void {
    const part = this.#reachable(target) ? target : this.#bounce.subarray(0, target.length);
    this.#transfer('read', part, offset);
    if (part !== target) target.set(part);
  }

  write(bytes: Uint8Array, offset: number): void {
    const part = this.#reachable(bytes) ? bytes : this.#bounce.subarray(0, bytes.length);
    if (part !== bytes) part.set(bytes);
    this.#transfer('write', part, offset);
  }

  flush(): void {
    if (!this.#writable) return;
    this.#call('flush', undefined, undefined, () => fdatasyncSync(this.#fd));
    if (!this.direct) dropCached(this.#fd);
  }

  /** Gives a range back to the device or the file system: a hint. False where it is not taken. */
  discard(offset: number, length: number): boolean {
    return this.isBlockDevice ? discardRange(this.#fd, offset, length) : punchHole(this.#fd, offset, length);
  }

  /** Makes the kernel forget partitions that are no longer there. False where it does not. */
  rereadPartitions(): boolean {
    return this.isBlockDevice && rereadPartitions(this.#fd);
  }

  shutdown(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    try {
      this.flush();
    } finally {
      this.#fd = -1;
      closeSync(fd);
    }
  }

  /** True for bytes that the disk may be given as they are. */
  #reachable(bytes: Uint8Array): boolean {
    return !this.direct || (bytes.buffer === this.#aligned && bytes.byteOffset % MEMORY_ALIGNMENT === 0);
  }

  #transfer(operation: 'read' | 'write', bytes: Uint8Array, offset: number): void {
    let done = 0;
    while (done < bytes.length) {
      const count = this.#call(operation, offset, bytes.length, () =>
        operation === 'read'
          ? readSync(this.#fd, bytes, done, bytes.length - done, offset + done)
          : writeSync(this.#fd, bytes, done, bytes.length - done, offset + done),
      );
      // The end of the device where there should be more: it shrank under us.
      if (count === 0) throw this.#failed(operation, 'ENXIO', offset, bytes.length);
      done += count;
    }
  }

  #call<T>(
    operation: DeviceFailure['operation'],
    offset: number | undefined,
    length: number | undefined,
    call: () => T,
  ): T {
    if (this.#fd < 0) throw this.#failed(operation, 'ENODEV', offset, length);
    try {
      return call();
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === undefined) throw error;
      throw this.#failed(operation, errnoName(errno), offset, length, error);
    }
  }

  #failed(
    operation: DeviceFailure['operation'],
    errno: string,
    offset?: number,
    length?: number,
    cause?: unknown,
  ): DeviceError {
    const place = offset === undefined || length === undefined ? {} : { offset, length };
    return deviceError({ device: this.name, operation, errno, ...place }, cause);
  }
}

interface OpenedPath {
  readonly fd: number;
  readonly direct: boolean;
  readonly isBlockDevice: boolean;
  readonly bounce: Uint8Array;
}

/** Opens with O_DIRECT and proves by one read that it works here; without it where it does not. */
function openDirect(path: string, options: BlockOptions): OpenedPath {
  const { writable = true, direct = true, maxTransfer = BLOCK_TRANSFER } = options;
  const stat = statChecked(path);
  const isBlockDevice = stat.isBlockDevice();
  // Only these two: opening a pipe could wait for ever.
  if (!isBlockDevice && !stat.isFile()) throw deviceError({ device: path, operation: 'open', errno: 'ENODEV' });
  // A block device is taken by O_EXCL, a file by a lock that all of us ask for.
  const alone = options.exclusive ?? writable;
  const exclusive = isBlockDevice && alone;
  const bounce = alignedMemory(options.aligned ? WASM_PAGE : maxTransfer);
  for (const wanted of direct ? [true, false] : [false]) {
    let fd: number;
    try {
      fd = openPath(path, { writable, direct: wanted, exclusive });
    } catch (error) {
      if (wanted && errnoOf(error) === EINVAL) continue;
      throw openFailure(path, error);
    }
    if (alone && !isBlockDevice && !lockFile(fd)) {
      closeSync(fd);
      throw deviceError({ device: path, operation: 'open', errno: 'EBUSY' });
    }
    const blockSize = isBlockDevice && wanted ? readBlockFacts(fd, path, options.sysRoot).logicalBlock : FILE_BLOCK;
    if (!wanted || takesDirect(fd, bounce, blockSize)) return { fd, direct: wanted, isBlockDevice, bounce };
    closeSync(fd);
  }
  throw deviceError({ device: path, operation: 'open', errno: 'EINVAL' });
}

const EINVAL = 22;

function takesDirect(fd: number, bounce: Uint8Array, blockSize: number): boolean {
  try {
    // The second block: a file system with larger ones refuses it.
    readSync(fd, bounce, 0, blockSize, blockSize);
    return true;
  } catch (error) {
    // Any other failure is the disk's own, and sanityCheck will meet it.
    return errnoOf(error) !== EINVAL;
  }
}

function statChecked(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw openFailure(path, error);
  }
}

function openFailure(path: string, error: unknown): unknown {
  const errno = errnoOf(error);
  return errno === undefined ? error : deviceError({ device: path, operation: 'open', errno: errnoName(errno) }, error);
}
