/**
 * The queue between the engine and a device's own thread: one shared memory, a control page and a few slots.
 *
 * Request n (counted from 0, modulo 2^32) uses slot n mod `slots`. The engine fills the slot, then counts `submitted` up; the
 * thread does the request, notes its errno in the slot, then counts `completed` up. A slot is free again when its request is
 * completed and the engine has looked at its errno. Nobody allocates, nobody locks: each word has one writer.
 *
 * A write is taken when its slot is filled. After a failure the thread refuses all that carries the same epoch, so that nothing
 * is written past a hole that the engine does not know of; the engine counts the epoch up when it has reported the failure.
 */

import { assert } from '../base/errors.ts';

/** Words of the control page, as indexes into its 32-bit words. */
export const CONTROL = {
  /** {@link THREAD_STATE}, written by the thread. */
  state: 0,
  submitted: 1,
  completed: 2,
  /** Not 0 when the engine has given the device up: a thread that comes back does nothing more. */
  abandoned: 3,
  /** Facts of the open device, valid in state open. */
  blockSize: 4,
  sizeLow: 5,
  sizeHigh: 6,
  startLow: 7,
  startHigh: 8,
  direct: 9,
  /** Why opening failed, valid in state failed. */
  errno: 10,
  /** Bytes of the text at {@link TEXT_OFFSET}: the serial in state open, the message of a bug in state broken. */
  textLength: 11,
  /** First word of the slots' descriptors, {@link SLOT.words} each. */
  slots: 64,
} as const;

/** Words of a slot's descriptor. Offset and length are u64, low word first. */
export const SLOT = { words: 8, operation: 0, epoch: 1, offset: 2, length: 4, errno: 6 } as const;

/** What a request asks for. */
export const OPERATION = { read: 1, write: 2, flush: 3, sanityCheck: 4, quiesce: 5, discard: 6, shutdown: 7 } as const;

export type Operation = (typeof OPERATION)[keyof typeof OPERATION];

/** Life of the thread. `starting` is Node's affair, from `opening` on it is the device's; `broken`: ended by a bug of ours. */
export const THREAD_STATE = { starting: 0, opening: 1, open: 2, failed: 3, broken: 4, ended: 5 } as const;

const CONTROL_BYTES = 65536;
const TEXT_OFFSET = 32768;
const TEXT_MAX = 1024;
const WASM_PAGE = 65536;

/** So many descriptors fit the control page. `slots` is a power of two, so that counting past 2^32 keeps its place. */
export const SLOTS_MAX = 64;

/** The shared memory with a name for everything in it; one instance on each side. */
export class Ring {
  readonly memory: WebAssembly.Memory;
  readonly words: Int32Array;
  readonly slots: number;
  readonly slotBytes: number;
  /** All slots' bytes, one behind the other, so that neighbours can be written at once. Page-aligned. */
  readonly data: Uint8Array;

  constructor(memory: WebAssembly.Memory, slots: number, slotBytes: number) {
    const fits = slots >= 1 && slots <= SLOTS_MAX && (slots & (slots - 1)) === 0 && slotBytes % WASM_PAGE === 0;
    assert(fits, `ring of ${slots} × ${slotBytes} bytes`);
    this.memory = memory;
    this.slots = slots;
    this.slotBytes = slotBytes;
    this.words = new Int32Array(memory.buffer, 0, CONTROL_BYTES / 4);
    this.data = new Uint8Array(memory.buffer, CONTROL_BYTES, slots * slotBytes);
  }

  /** Memory for a ring; `slotBytes` is a multiple of 64 KiB. Pages are taken when first touched. */
  static allocate(slots: number, slotBytes: number): Ring {
    const pages = (CONTROL_BYTES + slots * slotBytes) / WASM_PAGE;
    return new Ring(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }), slots, slotBytes);
  }

  load(word: number): number {
    return Atomics.load(this.words, word);
  }

  store(word: number, value: number): void {
    Atomics.store(this.words, word, value | 0);
  }

  /** Stores and wakes the other side. */
  publish(word: number, value: number): void {
    Atomics.store(this.words, word, value | 0);
    Atomics.notify(this.words, word);
  }

  /** Index of the slot of request `n`. */
  slotOf(n: number): number {
    return (n >>> 0) % this.slots;
  }

  /** First word of the descriptor of request `n`. */
  descriptor(n: number): number {
    return CONTROL.slots + this.slotOf(n) * SLOT.words;
  }

  /** Bytes of the slot of request `n`. */
  slotData(n: number, length: number): Uint8Array {
    const start = this.slotOf(n) * this.slotBytes;
    return this.data.subarray(start, start + length);
  }

  /** A u64 of two words, low first. */
  loadU64(word: number): number {
    return (Atomics.load(this.words, word) >>> 0) + (Atomics.load(this.words, word + 1) >>> 0) * 2 ** 32;
  }

  storeU64(word: number, value: number): void {
    Atomics.store(this.words, word, (value % 2 ** 32) | 0);
    Atomics.store(this.words, word + 1, Math.floor(value / 2 ** 32) | 0);
  }

  get text(): string {
    const bytes = new Uint8Array(this.memory.buffer, TEXT_OFFSET, this.load(CONTROL.textLength));
    return new TextDecoder().decode(bytes.slice());
  }

  set text(value: string) {
    const bytes = new TextEncoder().encode(value).subarray(0, TEXT_MAX);
    new Uint8Array(this.memory.buffer, TEXT_OFFSET, TEXT_MAX).set(bytes);
    this.store(CONTROL.textLength, bytes.length);
  }
}

/** What the engine hands to the thread when it starts. */
export interface ThreadStart {
  readonly memory: WebAssembly.Memory;
  readonly slots: number;
  readonly slotBytes: number;
  readonly path: string;
  readonly writable: boolean;
  readonly exclusive: boolean;
  readonly direct: boolean;
}
