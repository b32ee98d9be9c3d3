/** A window of address space through which a file is looked at, 32 MiB at a time, without copies and without garbage. */

import { assert } from '../base/errors.ts';
import { type NativeCalls, nativeCalls, type Pointer } from './native.ts';

/** Source: Linux `include/uapi/asm-generic/mman-common.h`, `mman.h`. */
const PROT_NONE = 0;
const PROT_READ = 1;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MAP_POPULATE = 0x8000;
const MAP_FAILED = -1n;

/** Mappings begin on this boundary of the file on every architecture that Linux runs on (arm64 and ppc64 have 64 KiB pages). */
export const MAP_ALIGNMENT = 65536;

/**
 * One reservation of address space and one view of it, for as long as the process lives: each {@link show} lays
 * another part of the file under the same bytes. So nothing is allocated while a dump is written, and no view outlives
 * its mapping.
 */
export class MappedWindow {
  readonly size: number;
  /** The bytes that the last successful {@link show} laid there; past its length they must not be touched. */
  readonly bytes: Uint8Array;
  readonly #calls: NativeCalls;
  readonly #address: Pointer;
  #lost = false;

  private constructor(calls: NativeCalls, address: Pointer, size: number) {
    this.#calls = calls;
    this.#address = address;
    this.size = size;
    this.bytes = new Uint8Array(calls.view(address, size));
  }

  /** Reserves `size` bytes, a multiple of {@link MAP_ALIGNMENT}; `undefined` where the process cannot map files. */
  static reserve(size: number): MappedWindow | undefined {
    assert(size > 0 && size % MAP_ALIGNMENT === 0, `window of ${size} bytes`);
    const calls = nativeCalls();
    if (!calls) return undefined;
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const address = calls.mmap(0n, size, PROT_NONE, flags, -1, 0);
    if (address === MAP_FAILED) return undefined;
    try {
      return new MappedWindow(calls, address, size);
    } catch {
      calls.munmap(address, size);
      return undefined;
    }
  }

  /**
   * Lays `length` bytes of the open file from `offset` (a multiple of {@link MAP_ALIGNMENT}) under {@link bytes}.
   *
   * False when the kernel will not map them. It has then unmapped what lay there, so another thread's memory may lie there by
   * the time the call returns: the window is lost, and never laid over again.
   * Source: linux 6.1 `mm/mmap.c`, `mmap_region`, `unmap_and_free_vma`.
   */
  show(fd: number, offset: number, length: number): boolean {
    assert(
      offset % MAP_ALIGNMENT === 0 && length > 0 && length <= this.size,
      `window over ${length} bytes at ${offset}`,
    );
    if (this.#lost) return false;
    const flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
    this.#lost = this.#calls.mmap(this.#address, length, PROT_READ, flags, fd, offset) !== this.#address;
    return !this.#lost;
  }

  /** Lays nothing there: the file can be closed, and a stray read faults rather than sees old bytes. */
  clear(): void {
    if (this.#lost) return;
    this.#calls.mmap(
      this.#address,
      this.size,
      PROT_NONE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
      -1,
      0,
    );
  }
}
