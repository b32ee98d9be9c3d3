/** A dump device seen as plain bytes, and plain bytes (the image of a device) seen as a dump device. */

import { roundDown, roundUp } from '../../base/cursor.ts';
import { type DumpDevice, readDevice } from '../../base/device.ts';
import { DeviceError } from '../../base/errors.ts';
import type { ByteSource } from '../../base/source.ts';

/** Largest bounce buffer in bytes: reads at odd offsets go through it in pieces. */
const BOUNCE_MAX = 2 ** 18;

/** The device as a {@link ByteSource}: any offset and length, whatever the device's block. One buffer of at most 256 KiB. */
export function deviceSource(device: DumpDevice): ByteSource {
  const { blockSize } = device;
  let bounce = new Uint8Array(0);
  const readPiece = (target: Uint8Array, offset: number): number => {
    const start = roundDown(offset, blockSize);
    const wanted = Math.min(roundUp(offset + target.length, blockSize) - start, Math.max(BOUNCE_MAX, blockSize));
    if (bounce.length < wanted) bounce = new Uint8Array(wanted);
    readDevice(device, bounce.subarray(0, wanted), start);
    const part = bounce.subarray(offset - start, Math.min(wanted, offset - start + target.length));
    target.set(part);
    return part.length;
  };
  return {
    name: device.name,
    size: device.size,
    readInto(target, offset) {
      const length = Math.max(0, Math.min(target.length, device.size - offset));
      const whole = target.length === length ? target : target.subarray(0, length);
      if (length > 0 && offset % blockSize === 0 && length % blockSize === 0) readDevice(device, whole, offset);
      else for (let done = 0; done < length; ) done += readPiece(whole.subarray(done), offset + done);
      return length;
    },
  };
}

/** An image of a device as a read-only {@link DumpDevice} of 512-byte blocks; a write or flush throws. */
export function imageDevice(source: ByteSource, location = { start: 0, serial: '' }): DumpDevice {
  const blockSize = 512;
  const refuse = (operation: 'write' | 'flush'): never => {
    throw new DeviceError('DEVICE_READ_ONLY', `${operation} to ${source.name}: an image is only read`, {
      device: source.name,
      operation,
      errno: 'EROFS',
    });
  };
  return {
    name: source.name,
    blockSize,
    size: roundDown(source.size, blockSize),
    maxTransfer: 2 ** 20,
    location,
    sanityCheck() {},
    quiesce() {},
    read(target, offset) {
      if (source.readInto(target, offset) === target.length) return;
      throw new DeviceError('DEVICE_READ', `reading ${source.name}: it ends before offset ${offset + target.length}`, {
        device: source.name,
        operation: 'read',
        offset,
        length: target.length,
      });
    },
    write: () => refuse('write'),
    flush: () => refuse('flush'),
    shutdown() {},
  };
}
