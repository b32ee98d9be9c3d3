/** The dump-device contract: where a dump goes at panic. */

import { AssertionError, DeviceError } from './errors.ts';
import { hex } from './hex.ts';

/**
 * A block device, a file, memory that survives a reboot, an export or a server.
 *
 * To add one: give a name, three limits and the operations below. Every operation either does all it was asked or
 * throws a {@link DeviceError}; a call that does not return in the device's own deadline throws one with errno
 * `ETIMEDOUT`, and the device is then dead: every later call throws at once.
 *
 * `write` may return before the bytes are on the medium or even handed to it, but it has taken them: the caller may
 * reuse its buffer. A failure of such a write surfaces at a later `write`, `read` or at the latest at `flush`. Reads see
 * all writes before them. Nothing is promised about the order in which unflushed writes become durable.
 *
 * Callers use {@link readDevice} and {@link writeDevice}, which check bounds and alignment and split transfers, so
 * that a driver may assume: `offset` and length are multiples of `blockSize`, within `size`, at most `maxTransfer`.
 */
export interface DumpDevice {
  /** What to call it in messages: usually its path. */
  readonly name: string;
  /** Logical block in bytes: a power of two from 512 to 65536. */
  readonly blockSize: number;
  /** Bytes, a multiple of `blockSize`. */
  readonly size: number;
  /** Largest single transfer in bytes, a multiple of `blockSize`. */
  readonly maxTransfer: number;
  /** Where it lies: a label names this, so that a label found elsewhere is known to be foreign. */
  readonly location: DeviceLocation;
  /** Does the hardware answer, is it what it was, can it be written? Throws if not. Cheap; may be called again. */
  sanityCheck(): void;
  /** Ends what others still have in flight, and takes the device for us alone. */
  quiesce(): void;
  /** Fills `target` from `offset`. */
  read(target: Uint8Array, offset: number): void;
  /** Takes `bytes` for `offset`. */
  write(bytes: Uint8Array, offset: number): void;
  /**
   * Memory of the device's own, `maxTransfer` bytes, for a transfer that is put together in it: the next operation is then a
   * `write` of bytes from its start on, and takes them without a copy. Its contents are arbitrary. Any other operation, and
   * that `write`, ends the loan.
   */
  lend?(): Uint8Array;
  /** Returns when everything written before is on stable storage. */
  flush(): void;
  /** Flushes the hardware and lets go. Never throws for a device that is dead already. */
  shutdown(): void;
  /** Called once per chunk by the engine: for drivers that need the time. */
  poll?(nowMs: number): void;
}

/** The place of a device in its disk. */
export interface DeviceLocation {
  /** Bytes from the start of the whole disk; 0 for a whole disk or a file. */
  readonly start: number;
  /** Serial number of the disk, or '' where it has none. */
  readonly serial: string;
}

/** The one check of bounds, alignment and size for every device; a violation is a bug of the caller. */
export function checkTransfer(device: DumpDevice, operation: 'read' | 'write', offset: number, length: number): void {
  const { blockSize, size } = device;
  if (offset >= 0 && length > 0 && offset % blockSize === 0 && length % blockSize === 0 && offset + length <= size)
    return;
  throw new AssertionError(
    'DEVICE_TRANSFER',
    `${operation} of ${length} bytes at ${hex(offset)} of ${device.name}: not within ${size} bytes in blocks of ${blockSize}`,
    { offset, length, blockSize, size },
  );
}

/** Reads `target.length` bytes at `offset`, in as many transfers as the device needs. */
export function readDevice(device: DumpDevice, target: Uint8Array, offset: number): void {
  checkTransfer(device, 'read', offset, target.length);
  for (let done = 0; done < target.length; done += device.maxTransfer) {
    device.read(target.subarray(done, Math.min(done + device.maxTransfer, target.length)), offset + done);
  }
}

/** Writes `bytes` at `offset`, in as many transfers as the device needs. */
export function writeDevice(device: DumpDevice, bytes: Uint8Array, offset: number): void {
  checkTransfer(device, 'write', offset, bytes.length);
  for (let done = 0; done < bytes.length; done += device.maxTransfer) {
    device.write(bytes.subarray(done, Math.min(done + device.maxTransfer, bytes.length)), offset + done);
  }
}

/** True when `error` says that the device under us failed, so that the next device should go on. */
export function isDeviceError(error: unknown): error is DeviceError {
  return error instanceof DeviceError;
}

/**
 * Where a device lies, in words. Serial, start and size tell devices apart; without a serial nothing proves that two names are
 * one device.
 */
export function placeOf(device: DumpDevice): string {
  const { serial, start } = device.location;
  const disk = serial === '' ? device.name : `serial '${serial}'`;
  return `${disk}, start ${start}, ${device.size} bytes`;
}
