/**
 * A device whose calls run in a thread of their own, so that the engine can stop waiting: a disk that does not answer holds
 * that thread in the kernel (state D, which nothing ends), and the engine goes on without it.
 */

import { SHARE_ENV, Worker } from 'node:worker_threads';
import type { DeviceLocation, DumpDevice } from '../base/device.ts';
import { AssertionError, type DeviceError, type DeviceFailure } from '../base/errors.ts';
import { deviceError, errnoName } from '../sys/errno.ts';
import { BLOCK_TRANSFER } from './block.ts';
import { CONTROL, OPERATION, type Operation, Ring, SLOT, THREAD_STATE, type ThreadStart } from './ring.ts';

/** How to open one. */
export interface ThreadedOptions {
  readonly writable?: boolean;
  /** O_EXCL on a block device; default: as `writable`. */
  readonly exclusive?: boolean;
  readonly direct?: boolean;
  /** A call without any progress for this long is given up, and the device with it; default {@link DEADLINE_MS}. */
  readonly deadlineMs?: number;
  /** Transfers in flight or waiting, a power of two; default {@link SLOTS}. Each takes `slotBytes` of memory. */
  readonly slots?: number;
  /** Bytes of one transfer, a multiple of 64 KiB; default 1 MiB. */
  readonly slotBytes?: number;
  /** Called about once a second while a call is waited for, so that whoever watches us knows that we live. */
  readonly onWait?: () => void;
  /** The thread's program; only tests give another. */
  readonly threadUrl?: URL;
}

/** Longer than a healthy disk's worst answer, shorter than the 60 s after which PID 1 takes stage 1 for dead. */
export const DEADLINE_MS = 25_000;

/** With four, neighbours are written 2 MiB at once while the engine fills the other two. */
export const SLOTS = 4;

const WAIT_SLICE_MS = 1000;
/** Bound of starting a thread. Measured: 35 ms, under emulation some 500. */
const START_MS = 20_000;
/** Discards are asked for in pieces, so that each has its own deadline. */
const DISCARD_PIECE = 2 ** 30;

const THREAD_FILE = import.meta.url.endsWith('.ts') ? './device-thread.ts' : './device-thread.mjs';

let abandoned = 0;

/**
 * How many threads were given up in this process. While there are any, the process must end by `exitNow` or SIGKILL:
 * `process.exit` would join them and never return.
 */
export function abandonedThreads(): number {
  return abandoned;
}

/** An open device behind its thread. */
export class ThreadedDevice implements DumpDevice {
  readonly name: string;
  readonly blockSize: number;
  readonly size: number;
  readonly maxTransfer: number;
  readonly location: DeviceLocation;
  /** True when transfers pass the page cache by. */
  readonly direct: boolean;
  readonly #ring: Ring;
  readonly #deadlineMs: number;
  readonly #onWait: (() => void) | undefined;
  #submitted = 0;
  #reaped = 0;
  #epoch = 0;
  /** First failure of a taken write that was not reported yet. */
  #failure: DeviceError | undefined;
  #death: DeviceError | undefined;
  #ended = false;

  private constructor(path: string, ring: Ring, options: ThreadedOptions) {
    this.name = path;
    this.#ring = ring;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE_MS;
    this.#onWait = options.onWait;
    this.#awaitOpen();
    this.blockSize = ring.load(CONTROL.blockSize);
    this.size = ring.loadU64(CONTROL.sizeLow);
    this.maxTransfer = ring.slotBytes;
    this.location = { start: ring.loadU64(CONTROL.startLow), serial: ring.text };
    this.direct = ring.load(CONTROL.direct) !== 0;
  }

  /**
   * Starts the thread and waits until it has opened `path`.
   *
   * Costs about 8 MB: a second V8 isolate. @throws DeviceError, with errno `ETIMEDOUT` when opening hangs.
   */
  static open(path: string, options: ThreadedOptions = {}): ThreadedDevice {
    const { writable = true, exclusive = writable, direct = true } = options;
    const ring = Ring.allocate(options.slots ?? SLOTS, options.slotBytes ?? BLOCK_TRANSFER);
    const { memory, slots, slotBytes } = ring;
    const start: ThreadStart = { memory, slots, slotBytes, path, writable, exclusive, direct };
    startThread(options.threadUrl ?? new URL(THREAD_FILE, import.meta.url), start);
    return new ThreadedDevice(path, ring, options);
  }

  sanityCheck(): void {
    this.#request(OPERATION.sanityCheck);
  }

  quiesce(): void {
    this.#request(OPERATION.quiesce);
  }

  read(target: Uint8Array, offset: number): void {
    const n = this.#request(OPERATION.read, offset, target.length);
    target.set(this.#ring.slotData(n, target.length));
  }

  write(bytes: Uint8Array, offset: number): void {
    const slot = this.#freeSlot(bytes.length);
    const isLent = bytes.buffer === slot.buffer && bytes.byteOffset === slot.byteOffset;
    if (!isLent) slot.set(bytes);
    this.#submit(OPERATION.write, offset, bytes.length);
  }

  /** The slot of the next request: what is put together there is in its place already. */
  lend(): Uint8Array {
    return this.#freeSlot(this.maxTransfer);
  }

  /** Waits for the slot of the next request. */
  #freeSlot(length: number): Uint8Array {
    this.#check();
    this.#awaitCompleted((this.#submitted - this.#ring.slots + 1) | 0);
    this.#check();
    return this.#ring.slotData(this.#submitted, length);
  }

  flush(): void {
    this.#request(OPERATION.flush);
  }

  /** Gives a range back to the device: a hint. False where it is not taken. */
  discard(offset: number, length: number): boolean {
    for (let done = 0; done < length; done += DISCARD_PIECE) {
      const n = this.#request(OPERATION.discard, offset + done, Math.min(DISCARD_PIECE, length - done), true);
      if (this.#ring.load(this.#ring.descriptor(n) + SLOT.errno) !== 0) return false;
    }
    return true;
  }

  /**
   * Flushes and lets go, whatever failed before. Throws only what nobody was told of yet, and only after it has let go.
   */
  shutdown(): void {
    if (this.#ended || this.#death) return;
    const toldBefore = this.#epoch > 0;
    this.#reap(false);
    const failure = this.#takeFailure();
    this.#awaitCompleted((this.#submitted - this.#ring.slots + 1) | 0);
    this.#awaitCompleted((this.#submit(OPERATION.shutdown, 0, 0) + 1) | 0);
    this.#ended = true;
    const last = failure ?? this.#takeFailure();
    if (last && !toldBefore) throw last;
  }

  /** True when the device was given up. */
  get dead(): boolean {
    return this.#death !== undefined;
  }

  /** Does one request and waits for it; reports what failed before it first. */
  #request(operation: Operation, offset = 0, length = 0, isHint = false): number {
    this.#check();
    this.#awaitCompleted((this.#submitted - this.#ring.slots + 1) | 0);
    const n = this.#submit(operation, offset, length);
    this.#awaitCompleted((n + 1) | 0, isHint);
    this.#check();
    return n;
  }

  #submit(operation: Operation, offset: number, length: number): number {
    const ring = this.#ring;
    const n = this.#submitted;
    const slot = ring.descriptor(n);
    ring.store(slot + SLOT.operation, operation);
    ring.store(slot + SLOT.epoch, this.#epoch);
    ring.storeU64(slot + SLOT.offset, offset);
    ring.storeU64(slot + SLOT.length, length);
    this.#submitted = (n + 1) | 0;
    ring.store(CONTROL.submitted, this.#submitted);
    const pending = (this.#submitted - ring.load(CONTROL.completed)) | 0;
    if (2 * pending >= ring.slots) this.#wake();
    return n;
  }

  /**
   * Wakes the thread. Not for each write: half a ring at a time makes larger transfers and half as many switches. Whoever
   * waits has woken it before.
   */
  #wake(): void {
    Atomics.notify(this.#ring.words, CONTROL.submitted);
  }

  /** Throws what has failed since the last report. */
  #check(): void {
    if (this.#death) throw this.#death;
    if (this.#ended) throw this.#error('probe', 'ENODEV');
    this.#reap(false);
    const failure = this.#takeFailure();
    if (failure) throw failure;
  }

  /** The failure to report, if there is one; what the thread refused because of it is not reported again. */
  #takeFailure(): DeviceError | undefined {
    const failure = this.#failure;
    if (failure) this.#epoch = (this.#epoch + 1) | 0;
    this.#failure = undefined;
    return failure;
  }

  /** Waits until requests before `count` are completed. Gives the device up when nothing moves for the deadline. */
  #awaitCompleted(count: number, lastIsHint = false): void {
    const ring = this.#ring;
    let seen = ring.load(CONTROL.completed);
    if (((seen - count) | 0) < 0) this.#wake();
    let since = performance.now();
    while (((seen - count) | 0) < 0) {
      const left = this.#deadlineMs - (performance.now() - since);
      if (left <= 0) this.#giveUp('ETIMEDOUT');
      Atomics.wait(ring.words, CONTROL.completed, seen, Math.min(left, WAIT_SLICE_MS));
      const now = ring.load(CONTROL.completed);
      if (now !== seen) since = performance.now();
      else if (ring.load(CONTROL.state) === THREAD_STATE.broken) throw brokenThread(this.name, ring);
      else this.#onWait?.();
      seen = now;
    }
    this.#reap(lastIsHint);
  }

  /** Looks at the errno of every completed request and keeps the first failure. */
  #reap(lastIsHint: boolean): void {
    const ring = this.#ring;
    const completed = ring.load(CONTROL.completed);
    for (; this.#reaped !== completed; this.#reaped = (this.#reaped + 1) | 0) {
      const slot = ring.descriptor(this.#reaped);
      const errno = ring.load(slot + SLOT.errno);
      if (errno === 0 || this.#failure || ring.load(slot + SLOT.epoch) !== this.#epoch) continue;
      if (lastIsHint && ((this.#reaped + 1) | 0) === completed) continue;
      const operation = FAILURE_NAME[ring.load(slot + SLOT.operation) as Operation];
      const isTransfer = operation === 'read' || operation === 'write';
      this.#failure = isTransfer
        ? this.#error(operation, errnoName(errno), ring.loadU64(slot + SLOT.offset), ring.loadU64(slot + SLOT.length))
        : this.#error(operation, errnoName(errno));
    }
  }

  /** The device's deadline begins when the thread does: starting it is work of ours, slow on a busy machine. */
  #awaitOpen(): void {
    const ring = this.#ring;
    this.#awaitState(THREAD_STATE.starting, Math.max(START_MS, this.#deadlineMs));
    this.#awaitState(THREAD_STATE.opening, this.#deadlineMs);
    const state = ring.load(CONTROL.state);
    if (state === THREAD_STATE.failed) throw this.#error('open', errnoName(ring.load(CONTROL.errno)));
    if (state === THREAD_STATE.broken) throw brokenThread(this.name, ring);
  }

  #awaitState(past: number, deadlineMs: number): void {
    const { words } = this.#ring;
    const begun = performance.now();
    while (this.#ring.load(CONTROL.state) === past) {
      const left = deadlineMs - (performance.now() - begun);
      if (left <= 0) this.#giveUp('ETIMEDOUT', 'open');
      if (Atomics.wait(words, CONTROL.state, past, Math.min(left, WAIT_SLICE_MS)) === 'timed-out') this.#onWait?.();
    }
  }

  /** The device is dead from here on, and its thread nobody's. */
  #giveUp(errno: string, operation?: DeviceFailure['operation']): never {
    abandoned++;
    this.#ring.store(CONTROL.abandoned, 1);
    const slot = this.#ring.descriptor(this.#ring.load(CONTROL.completed));
    const doing = operation ?? FAILURE_NAME[this.#ring.load(slot + SLOT.operation) as Operation];
    const isTransfer = doing === 'read' || doing === 'write';
    this.#death = isTransfer
      ? this.#error(doing, errno, this.#ring.loadU64(slot + SLOT.offset), this.#ring.loadU64(slot + SLOT.length))
      : this.#error(doing, errno);
    throw this.#death;
  }

  #error(operation: DeviceFailure['operation'], errno: string, offset?: number, length?: number): DeviceError {
    const place = offset === undefined || length === undefined ? {} : { offset, length };
    return deviceError({ device: this.name, operation, errno, ...place });
  }
}

const FAILURE_NAME: Readonly<Record<Operation, DeviceFailure['operation']>> = {
  [OPERATION.read]: 'read',
  [OPERATION.write]: 'write',
  [OPERATION.flush]: 'flush',
  [OPERATION.sanityCheck]: 'probe',
  [OPERATION.quiesce]: 'flush',
  [OPERATION.discard]: 'write',
  [OPERATION.shutdown]: 'shutdown',
};

/** Small heaps: the thread holds a few objects. A source tree's thread strips types first and needs more. */
function startThread(url: URL, start: ThreadStart): void {
  const built = url.pathname.endsWith('.mjs');
  const worker = new Worker(url, {
    workerData: start,
    env: SHARE_ENV,
    execArgv: [],
    trackUnmanagedFds: false,
    ...(built ? { resourceLimits: { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 } } : {}),
  });
  // What the engine needs to know is in the ring; an event would come too late, or as a crash of ours.
  worker.on('error', () => {});
  worker.unref();
}

function brokenThread(name: string, ring: Ring): AssertionError {
  return new AssertionError('DEVICE_THREAD', `the thread of ${name} ended: ${ring.text}`);
}
