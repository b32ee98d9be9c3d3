/**
 * A disk that lies in all the ways a real one may.
 *
 * The fault model:
 * - A write returns when the disk has taken it into a volatile cache. Reads see it at once. It is durable after the next
 *   `flush`, and not before.
 * - At a power cut the writes since the last flush survive in any combination and in any order, each torn at 512-byte
 *   sectors: a sector holds its old bytes or its new ones, never a mixture. The write under way when the power went is one
 *   of them. What was flushed is there, bit for bit.
 * - When only the writing process is killed, every write before the one under way is there; that one is torn.
 * - A sector can be bad: reads and writes that touch it fail with EIO, once or always. A write that failed with EIO has
 *   changed the first half of its sectors all the same.
 * - From some operation on the disk can be gone (ENODEV), hang (ETIMEDOUT, and every later call fails at once) or be
 *   read-only (EROFS).
 * - Not modelled: sectors that rot, and disks that lie about flushes.
 *
 * The truth is kept pristine: the journal of operations is the whole history, every fault is an overlay on it, and what
 * survives a cut is computed from the journal without running the writer again. Injected errors are marked, so that any
 * other error is a finding.
 */

import type { DeviceLocation, DumpDevice } from '../../src/base/device.ts';
import { DeviceError } from '../../src/base/errors.ts';
import { type Random, randomBelow } from '../../src/base/random.ts';

export const SECTOR = 512;

/** A write or a flush, in order. */
export type SimOperation =
  | { readonly kind: 'write'; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: 'flush' };

/** What the disk is asked to do, for a {@link SimFault}. */
export interface SimCall {
  readonly kind: 'sanity' | 'read' | 'write' | 'flush';
  /** Number of the call, from 1; every kind counts. */
  readonly index: number;
  readonly offset: number;
  readonly length: number;
}

/** Decides whether a call fails, and with what errno. */
export type SimFault = (call: SimCall) => string | undefined;

/** An error that the test asked for. */
export class InjectedError extends DeviceError {
  readonly injected = true;
}

export interface SimDiskOptions {
  readonly name?: string;
  /** Initial bytes; copied. */
  readonly image: Uint8Array;
  readonly blockSize?: number;
  readonly maxTransfer?: number;
  readonly location?: DeviceLocation;
  readonly fault?: SimFault;
}

export class SimDisk implements DumpDevice {
  readonly name: string;
  readonly blockSize: number;
  readonly size: number;
  readonly maxTransfer: number;
  readonly location: DeviceLocation;
  /** What happened, in order. */
  readonly journal: SimOperation[] = [];
  /** The disk as reads see it. */
  readonly contents: Uint8Array;
  fault: SimFault | undefined;
  /** Called after each write and flush, once it has been taken; may throw to end the run there. */
  onStep: (() => void) | undefined;
  calls = 0;
  #dead: string | undefined;

  constructor(options: SimDiskOptions) {
    this.name = options.name ?? 'sim';
    this.contents = options.image.slice();
    this.size = options.image.length;
    this.blockSize = options.blockSize ?? SECTOR;
    this.maxTransfer = options.maxTransfer ?? 2 ** 20;
    this.location = options.location ?? { start: 0, serial: 'SIM0001' };
    this.fault = options.fault;
  }

  sanityCheck(): void {
    this.#call('sanity', 0, 0);
  }

  quiesce(): void {}

  read(target: Uint8Array, offset: number): void {
    this.#call('read', offset, target.length);
    target.set(this.contents.subarray(offset, offset + target.length));
  }

  write(bytes: Uint8Array, offset: number): void {
    try {
      this.#call('write', offset, bytes.length);
    } catch (error) {
      if (this.#dead === undefined && isInjected(error, 'EIO'))
        this.#take(bytes.subarray(0, half(bytes.length)), offset);
      throw error;
    }
    this.#take(bytes, offset);
    this.onStep?.();
  }

  flush(): void {
    this.#call('flush', 0, 0);
    this.journal.push({ kind: 'flush' });
    this.onStep?.();
  }

  shutdown(): void {}

  #take(bytes: Uint8Array, offset: number): void {
    this.contents.set(bytes, offset);
    this.journal.push({ kind: 'write', offset, bytes: bytes.slice() });
  }

  #call(kind: SimCall['kind'], offset: number, length: number): void {
    this.calls++;
    const errno = this.#dead ?? this.fault?.({ kind, index: this.calls, offset, length });
    if (errno === undefined) return;
    if (errno === 'ENODEV' || errno === 'ETIMEDOUT') this.#dead = errno;
    const operation = kind === 'sanity' ? 'probe' : kind;
    throw new InjectedError(`DEVICE_${operation.toUpperCase()}`, `${operation} of ${this.name}: ${errno}`, {
      device: this.name,
      operation,
      offset,
      length,
      errno,
    });
  }
}

function isInjected(error: unknown, errno: string): boolean {
  return error instanceof InjectedError && error.failure.errno === errno;
}

/** Half of a transfer, in whole sectors. */
function half(length: number): number {
  return Math.floor(length / 2 / SECTOR) * SECTOR;
}

/** Fails every call that touches the sector at `offset`; `times` limits how often. */
export function badSector(offset: number, times = Number.POSITIVE_INFINITY, errno = 'EIO'): SimFault {
  let left = times;
  return (call) => {
    if (call.length === 0 || offset < call.offset || offset >= call.offset + call.length || left <= 0) return undefined;
    left--;
    return errno;
  };
}

/** Fails call number `n` once, or every call from it on. */
export function failCall(n: number, mode: 'once' | 'onward', errno = 'EIO'): SimFault {
  return (call) => (call.index === n || (mode === 'onward' && call.index > n) ? errno : undefined);
}

/**
 * Walks the journal of a finished run and says what would have survived at each point of it. `step` moves over one
 * operation; before it, {@link powerCut} and {@link processKill} give the disk as it would be had the run died in that operation,
 * in one buffer that the next call uses again.
 */
export class CutWalker {
  /** Number of operations before the next one. */
  at = 0;
  /** Everything that is flushed. */
  readonly #durable: Uint8Array;
  readonly #journal: readonly SimOperation[];
  readonly #survivors: Uint8Array;
  #pending: Extract<SimOperation, { kind: 'write' }>[] = [];

  constructor(image: Uint8Array, journal: readonly SimOperation[]) {
    this.#durable = image.slice();
    this.#survivors = new Uint8Array(image.length);
    this.#journal = journal;
  }

  /** Moves behind the last operation. */
  toEnd(): this {
    while (this.at < this.#journal.length) this.step();
    return this;
  }

  get done(): boolean {
    return this.at > this.#journal.length;
  }

  /** True where the operation under way is a write. */
  get atWrite(): boolean {
    return this.#journal[this.at]?.kind === 'write';
  }

  step(): void {
    const operation = this.#journal[this.at++];
    if (operation?.kind === 'write') this.#pending.push(operation);
    if (operation?.kind !== 'flush') return;
    for (const write of this.#pending) this.#durable.set(write.bytes, write.offset);
    this.#pending = [];
  }

  /** What a power cut in the operation under way leaves: `random` chooses. */
  powerCut(random: Random): Uint8Array {
    const survivors = this.#flushed();
    const lost = [...this.#pending, ...this.#underWay()];
    // One cut in four keeps whole writes or none, so that rare long survivals are met as well.
    const whole = randomBelow(random, 4) === 0;
    const odds = [0, 1, 2, 3, 4][randomBelow(random, 5)] as number;
    for (const write of shuffled(lost, random)) {
      if (whole) {
        if (randomBelow(random, 4) < odds) survivors.set(write.bytes, write.offset);
      } else {
        tear(survivors, write, random, odds);
      }
    }
    return survivors;
  }

  /** What the death of the process alone leaves: everything before, and the write under way torn. */
  processKill(random: Random): Uint8Array {
    const survivors = this.#flushed();
    for (const write of this.#pending) survivors.set(write.bytes, write.offset);
    for (const write of this.#underWay()) tear(survivors, write, random, randomBelow(random, 5));
    return survivors;
  }

  #flushed(): Uint8Array {
    this.#survivors.set(this.#durable);
    return this.#survivors;
  }

  #underWay(): Extract<SimOperation, { kind: 'write' }>[] {
    const operation = this.#journal[this.at];
    return operation?.kind === 'write' ? [operation] : [];
  }
}

/** Writes each sector with a chance of `odds` in four. */
function tear(target: Uint8Array, write: { offset: number; bytes: Uint8Array }, random: Random, odds: number): void {
  for (let at = 0; at < write.bytes.length; at += SECTOR) {
    if (randomBelow(random, 4) < odds) target.set(write.bytes.subarray(at, at + SECTOR), write.offset + at);
  }
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = randomBelow(random, i + 1);
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}
