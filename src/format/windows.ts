/** Tables of a dump read through a few windows, so that their size never decides how much memory we take. */

import { assert } from '../base/errors.ts';
import type { ByteSource } from '../base/source.ts';

/** One loaded window. `length` is short only where the area or the source ends. */
export interface TableWindow {
  index: number;
  length: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The same bytes by 32-bit word; every host of ours is little-endian. */
  readonly words: Uint32Array;
}

/** Where a table lies and how it is cut. */
export interface WindowPlan {
  /** File offset of the table. */
  readonly offset: number;
  /** Bytes of the table. */
  readonly length: number;
  /** Bytes of a window: a multiple of 4. */
  readonly windowBytes: number;
  /** Windows kept, the least recently used one gives way. */
  readonly windowsMax: number;
}

/** A table behind windows. Bytes past the end of the source are not there: `length` of the window says so. */
export class TableWindows {
  readonly #source: ByteSource;
  readonly #plan: WindowPlan;
  /** Most recently used first. */
  readonly #windows: TableWindow[] = [];

  constructor(source: ByteSource, plan: WindowPlan) {
    assert(plan.windowBytes % 4 === 0 && plan.windowsMax > 0, 'windows of a table are made of words', {});
    this.#source = source;
    this.#plan = plan;
  }

  /** The window of that index, loaded; valid until the next call. What is past `length` is zero. */
  load(index: number): TableWindow {
    const first = this.#windows[0];
    if (first !== undefined && first.index === index) return first;
    const at = this.#windows.findIndex((window) => window.index === index);
    if (at > 0) return this.#toFront(at);
    return this.#fill(index);
  }

  /** Index of the first window from `index` on that may hold anything but zeros, as far as the source can tell. */
  dataFrom(index: number): number {
    const { offset, windowBytes } = this.#plan;
    const found = this.#source.dataFrom?.(offset + index * windowBytes);
    return found === undefined ? index : Math.max(index, Math.floor((found - offset) / windowBytes));
  }

  #toFront(at: number): TableWindow {
    const [window] = this.#windows.splice(at, 1) as [TableWindow];
    this.#windows.unshift(window);
    return window;
  }

  #fill(index: number): TableWindow {
    const { offset, length, windowBytes, windowsMax } = this.#plan;
    const window = this.#windows.length < windowsMax ? newWindow(windowBytes) : (this.#windows.pop() as TableWindow);
    // A read that fails leaves a window that claims nothing.
    window.index = -1;
    this.#windows.unshift(window);
    const start = index * windowBytes;
    const wanted = Math.max(0, Math.min(windowBytes, length - start));
    const target = wanted === windowBytes ? window.bytes : window.bytes.subarray(0, wanted);
    const got = wanted === 0 ? 0 : this.#source.readInto(target, offset + start);
    window.bytes.fill(0, got);
    window.length = got;
    window.index = index;
    return window;
  }
}

function newWindow(windowBytes: number): TableWindow {
  const buffer = new ArrayBuffer(windowBytes);
  return {
    index: -1,
    length: 0,
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    words: new Uint32Array(buffer),
  };
}
