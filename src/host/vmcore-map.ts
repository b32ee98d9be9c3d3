/**
 * /proc/vmcore as bytes: mapped in windows where that can be done, read where not.
 *
 * x86 maps and unmaps each 4 KiB page for `read`; a mapping of 32 MiB at a time is twice as fast under emulation and ten times
 * on hardware.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { roundDown } from '../base/cursor.ts';
import type { ByteSource } from '../base/source.ts';
import { deviceError, errnoName, errnoOf } from '../sys/errno.ts';
import { MAP_ALIGNMENT, MappedWindow } from '../sys/mapping.ts';

/** Memory of the crashed kernel, in its capture kernel. */
export const PROC_VMCORE = '/proc/vmcore';

/** Bytes mapped at once. They are the dead kernel's memory: none of ours is taken. */
export const VMCORE_WINDOW = 32 * 2 ** 20;

/** Windows kept: one moves with the data, the others hold page tables and symbols that are read in between. */
const WINDOWS = 3;

/** A file whose bytes can be had without copying them twice; never a file that may shrink, which would kill us with SIGBUS. */
export interface MappedSource extends ByteSource {
  /** `mapped`, or `read` where it could not be. */
  readonly access: 'mapped' | 'read';
  close(): void;
}

interface Window {
  readonly mapping: MappedWindow;
  /** Offset of the file that is shown; −1 for none. */
  start: number;
  length: number;
  usedAt: number;
}

/**
 * Opens /proc/vmcore, or another file of that form.
 *
 * @param options.windowBytes a multiple of 64 KiB. @param options.map false to read: for any file that may be cut short while
 * it is open. From a file `read` is faster, too.
 * @throws DeviceError
 */
export function openMapped(
  path: string,
  options: { readonly windowBytes?: number; readonly map?: boolean } = {},
): MappedSource {
  const fd = attempt(path, () => openSync(path, 'r'));
  const size = attempt(path, () => fstatSync(fd).size);
  const windowBytes = options.windowBytes ?? VMCORE_WINDOW;
  const windows = options.map === false ? [] : reserveWindows(fd, size, windowBytes);
  return new VmcoreFile(path, fd, size, windowBytes, windows);
}

function reserveWindows(fd: number, size: number, windowBytes: number): Window[] {
  const windows: Window[] = [];
  for (let i = 0; i < WINDOWS; i++) {
    const mapping = MappedWindow.reserve(windowBytes);
    if (mapping) windows.push({ mapping, start: -1, length: 0, usedAt: 0 });
  }
  const probe = windows[0];
  const works = probe !== undefined && size >= MAP_ALIGNMENT && probe.mapping.show(fd, 0, MAP_ALIGNMENT);
  return works ? windows : [];
}

class VmcoreFile implements MappedSource {
  readonly name: string;
  readonly size: number;
  readonly #fd: number;
  readonly #windowBytes: number;
  readonly #windows: Window[];
  /** What lies from here on is read: a mapping cannot end inside a page. */
  readonly #mappedEnd: number;
  #clock = 0;
  /** Start of the last window that would not map. */
  #unmappable = -1;

  constructor(name: string, fd: number, size: number, windowBytes: number, windows: Window[]) {
    this.name = name;
    this.size = size;
    this.#fd = fd;
    this.#windowBytes = windowBytes;
    this.#windows = windows;
    this.#mappedEnd = windows.length > 0 ? roundDown(size, MAP_ALIGNMENT) : 0;
  }

  get access(): 'mapped' | 'read' {
    return this.#windows.length > 0 ? 'mapped' : 'read';
  }

  readInto(target: Uint8Array, offset: number): number {
    const wanted = Math.max(0, Math.min(target.length, this.size - offset));
    for (let done = 0; done < wanted; ) done += this.#copy(target, done, wanted, offset + done);
    return wanted;
  }

  close(): void {
    for (const window of this.#windows) window.mapping.clear();
    closeSync(this.#fd);
  }

  /** Copies what one window shows from `offset` on, at most up to `end` of `target`; the count. */
  #copy(target: Uint8Array, done: number, end: number, offset: number): number {
    const window = offset < this.#mappedEnd ? this.#windowAt(offset) : undefined;
    if (!window) return this.#read(target, done, end, offset);
    const from = offset - window.start;
    const count = Math.min(end - done, window.length - from);
    target.set(window.mapping.bytes.subarray(from, from + count), done);
    return count;
  }

  /** The window that shows `offset`; the least recently used one is moved there. `undefined` where it will not map. */
  #windowAt(offset: number): Window | undefined {
    this.#clock++;
    let [oldest] = this.#windows;
    for (const window of this.#windows) {
      if (window.start >= 0 && offset >= window.start && offset < window.start + window.length) {
        window.usedAt = this.#clock;
        return window;
      }
      if (window.usedAt < (oldest as Window).usedAt) oldest = window;
    }
    const start = roundDown(offset, this.#windowBytes);
    if (!oldest || start === this.#unmappable) return undefined;
    const length = Math.min(this.#windowBytes, this.#mappedEnd - start);
    if (!oldest.mapping.show(this.#fd, start, length)) {
      // A window that failed is lost: after three, all is read.
      this.#unmappable = start;
      this.#windows.splice(this.#windows.indexOf(oldest), 1);
      return undefined;
    }
    oldest.start = start;
    oldest.length = length;
    oldest.usedAt = this.#clock;
    return oldest;
  }

  #read(target: Uint8Array, done: number, end: number, offset: number): number {
    // Up to where mapping goes on, so that one window that will not map does not slow the rest.
    const stop = offset < this.#mappedEnd ? roundDown(offset, this.#windowBytes) + this.#windowBytes : this.size;
    const length = Math.min(end - done, stop - offset);
    const count = attempt(this.name, () => readSync(this.#fd, target, done, length, offset), offset, length);
    if (count === 0) throw deviceError({ device: this.name, operation: 'read', errno: 'ENXIO', offset, length });
    return count;
  }
}

function attempt<T>(device: string, call: () => T, offset?: number, length?: number): T {
  try {
    return call();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const place = offset === undefined || length === undefined ? {} : { offset, length };
    const operation = offset === undefined ? 'open' : 'read';
    throw deviceError({ device, operation, errno: errnoName(errno), ...place }, error);
  }
}
