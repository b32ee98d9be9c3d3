/** The thread's side of the ring: takes requests in order, does them on the device, tells how they went. */

import type { DumpDevice } from '../base/device.ts';
import { DeviceError } from '../base/errors.ts';
import { errnoName, errnoNumber } from '../sys/errno.ts';
import { CONTROL, OPERATION, type Operation, type Ring, SLOT, THREAD_STATE } from './ring.ts';

/** A device as the thread drives it. */
export interface ServedDevice extends DumpDevice {
  readonly direct?: boolean;
  discard?(offset: number, length: number): boolean;
}

/** Opens the device, tells its facts, and serves until it is told to shut down. Returns when the thread may end. */
export function serveDevice(ring: Ring, open: () => ServedDevice): void {
  let device: ServedDevice;
  ring.publish(CONTROL.state, THREAD_STATE.opening);
  try {
    device = open();
  } catch (error) {
    refuse(ring, error);
    return;
  }
  ring.store(CONTROL.blockSize, device.blockSize);
  ring.storeU64(CONTROL.sizeLow, device.size);
  ring.storeU64(CONTROL.startLow, device.location.start);
  ring.store(CONTROL.direct, device.direct ? 1 : 0);
  ring.text = device.location.serial;
  ring.publish(CONTROL.state, THREAD_STATE.open);
  try {
    new Server(ring, device).run();
    ring.publish(CONTROL.state, THREAD_STATE.ended);
  } catch (error) {
    broken(ring, error);
  }
}

function refuse(ring: Ring, error: unknown): void {
  if (error instanceof DeviceError) {
    ring.store(CONTROL.errno, errnoNumber(error.failure.errno ?? '') || EIO);
    ring.publish(CONTROL.state, THREAD_STATE.failed);
  } else {
    broken(ring, error);
  }
}

function broken(ring: Ring, error: unknown): void {
  ring.text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  ring.publish(CONTROL.state, THREAD_STATE.broken);
  // Whoever waits for a request is woken to see the state.
  Atomics.notify(ring.words, CONTROL.completed);
}

const EIO = 5;
const ECANCELED = 125;
const EOPNOTSUPP = 95;

class Server {
  readonly #ring: Ring;
  readonly #device: ServedDevice;
  #done = 0;
  /** Epoch in which a request failed; −1 while none did. */
  #failedEpoch = -1;

  constructor(ring: Ring, device: ServedDevice) {
    this.#ring = ring;
    this.#device = device;
  }

  run(): void {
    const ring = this.#ring;
    for (;;) {
      const submitted = ring.load(CONTROL.submitted);
      if (ring.load(CONTROL.abandoned)) return;
      if (submitted === this.#done) {
        Atomics.wait(ring.words, CONTROL.submitted, submitted);
        continue;
      }
      const operation = this.#word(this.#done, SLOT.operation) as Operation;
      const count = operation === OPERATION.write ? this.#neighbours(submitted) : 1;
      if (count > 1 && this.#writeTogether(count)) continue;
      this.#finish(this.#serve(operation, this.#done));
      if (operation === OPERATION.shutdown) return;
    }
  }

  /** How many of the waiting writes, from the first on, lie side by side on the device and in memory. */
  #neighbours(submitted: number): number {
    const ring = this.#ring;
    const first = this.#done;
    let count = 1;
    for (let n = first; ((first + count) | 0) !== submitted; n = (n + 1) | 0, count++) {
      const next = (n + 1) | 0;
      const length = this.#u64(n, SLOT.length);
      const follows =
        ring.slotOf(next) === ring.slotOf(n) + 1 &&
        length === ring.slotBytes &&
        this.#word(next, SLOT.operation) === OPERATION.write &&
        this.#word(next, SLOT.epoch) === this.#word(first, SLOT.epoch) &&
        this.#u64(next, SLOT.offset) === this.#u64(n, SLOT.offset) + length;
      if (!follows) break;
    }
    return count;
  }

  /** Writes `count` neighbours in one transfer. False when it failed: then each is tried alone, to name the one that fails. */
  #writeTogether(count: number): boolean {
    const ring = this.#ring;
    const first = this.#done;
    if (this.#refused(first)) return false;
    let length = 0;
    for (let i = 0; i < count; i++) length += this.#u64((first + i) | 0, SLOT.length);
    const start = ring.slotOf(first) * ring.slotBytes;
    try {
      this.#device.write(ring.data.subarray(start, start + length), this.#u64(first, SLOT.offset));
    } catch (error) {
      if (error instanceof DeviceError) return false;
      throw error;
    }
    for (let i = 0; i < count; i++) this.#finish(0);
    return true;
  }

  /** Does request `n`; the errno it ended with, 0 for none. */
  #serve(operation: Operation, n: number): number {
    // A shutdown is always done: it lets go of the device.
    if (this.#refused(n) && operation !== OPERATION.shutdown) return ECANCELED;
    const offset = this.#u64(n, SLOT.offset);
    const length = this.#u64(n, SLOT.length);
    try {
      return this.#do(operation, n, offset, length);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#failedEpoch = this.#word(n, SLOT.epoch);
      return errnoNumber(error.failure.errno ?? errnoName(EIO)) || EIO;
    }
  }

  #do(operation: Operation, n: number, offset: number, length: number): number {
    const device = this.#device;
    if (operation === OPERATION.read) device.read(this.#ring.slotData(n, length), offset);
    else if (operation === OPERATION.write) device.write(this.#ring.slotData(n, length), offset);
    else if (operation === OPERATION.flush) device.flush();
    else if (operation === OPERATION.sanityCheck) device.sanityCheck();
    else if (operation === OPERATION.quiesce) device.quiesce();
    else if (operation === OPERATION.shutdown) device.shutdown();
    else return device.discard?.(offset, length) ? 0 : EOPNOTSUPP;
    return 0;
  }

  #refused(n: number): boolean {
    return this.#word(n, SLOT.epoch) === this.#failedEpoch;
  }

  #finish(errno: number): void {
    this.#ring.store(this.#ring.descriptor(this.#done) + SLOT.errno, errno);
    this.#done = (this.#done + 1) | 0;
    this.#ring.publish(CONTROL.completed, this.#done);
  }

  #word(n: number, word: number): number {
    return this.#ring.load(this.#ring.descriptor(n) + word);
  }

  #u64(n: number, word: number): number {
    return this.#ring.loadU64(this.#ring.descriptor(n) + word);
  }
}
