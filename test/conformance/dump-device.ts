/** What every dump-device driver must do; each runs this suite over its own devices. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checkTransfer, type DumpDevice, readDevice, writeDevice } from '../../src/base/device.ts';
import { AssertionError, DeviceError } from '../../src/base/errors.ts';
import { randomBelow, seededRandom } from '../../src/base/random.ts';

/** A fresh, empty device of at least 4 MiB, and the same device opened once more. */
export interface DeviceUnderTest {
  open(): DumpDevice;
  /** After the last device was shut down. */
  cleanUp(): void;
}

/** Registers the suite. `make` gives a new device for each test. */
export function dumpDeviceSuite(name: string, make: () => DeviceUnderTest): void {
  const withDevice = (body: (device: DumpDevice, open: () => DumpDevice) => void): void => {
    const made = make();
    const device = made.open();
    try {
      body(device, made.open);
    } finally {
      device.shutdown();
      made.cleanUp();
    }
  };

  describe(`dump device: ${name}`, () => {
    test('its limits keep the contract', () =>
      withDevice((device) => {
        const { blockSize, size, maxTransfer } = device;
        assert.ok(blockSize >= 512 && blockSize <= 65536 && (blockSize & (blockSize - 1)) === 0, `block ${blockSize}`);
        assert.equal(size % blockSize, 0);
        assert.ok(size >= 4 * 2 ** 20);
        assert.ok(maxTransfer >= blockSize && maxTransfer % blockSize === 0);
        assert.ok(device.name.length > 0);
        assert.ok(device.location.start >= 0);
      }));

    test('reads what was written: first block, last block, many transfers', () =>
      withDevice((device) => {
        const last = device.size - device.blockSize;
        const long = pattern(device.maxTransfer + 3 * device.blockSize, 3);
        writeDevice(device, pattern(device.blockSize, 1), 0);
        writeDevice(device, pattern(device.blockSize, 2), last);
        writeDevice(device, long, device.blockSize);
        assert.deepEqual(readBack(device, device.blockSize, 0), pattern(device.blockSize, 1));
        assert.deepEqual(readBack(device, device.blockSize, last), pattern(device.blockSize, 2));
        assert.deepEqual(readBack(device, long.length, device.blockSize), long);
      }));

    test('has taken the bytes when write returns', () =>
      withDevice((device) => {
        const buffer = new Uint8Array(device.blockSize);
        for (let i = 0; i < 64; i++) {
          buffer.fill(i + 1);
          device.write(buffer, i * device.blockSize);
        }
        buffer.fill(0xee);
        for (let i = 0; i < 64; i++)
          assert.deepEqual(
            readBack(device, device.blockSize, i * device.blockSize),
            new Uint8Array(device.blockSize).fill(i + 1),
          );
      }));

    test('takes what was put together in memory that it lends, and other bytes after that', () =>
      withDevice((device) => {
        if (!device.lend) return;
        const { blockSize, maxTransfer } = device;
        for (let round = 0; round < 8; round++) {
          const length = round % 2 === 0 ? maxTransfer : blockSize;
          const lent: Uint8Array = device.lend();
          assert.equal(lent.length, maxTransfer);
          const part = lent.subarray(0, length);
          part.set(pattern(length, round));
          device.write(part, 0);
          // A loan that comes to nothing, and bytes of the caller's.
          device.lend().fill(0xee);
          device.write(pattern(blockSize, 100 + round), maxTransfer);
          assert.deepEqual(readBack(device, length, 0), pattern(length, round), `round ${round}`);
          assert.deepEqual(readBack(device, blockSize, maxTransfer), pattern(blockSize, 100 + round));
        }
      }));

    test('takes buffers that lie anywhere in memory', () =>
      withDevice((device) => {
        const store = new Uint8Array(4 * device.blockSize + 7);
        const odd = store.subarray(7, 7 + 2 * device.blockSize);
        odd.set(pattern(odd.length, 9));
        device.write(odd, 4 * device.blockSize);
        const target = store.subarray(3, 3 + 2 * device.blockSize);
        target.fill(0);
        device.read(target, 4 * device.blockSize);
        assert.deepEqual(target.slice(), pattern(odd.length, 9));
      }));

    test('what was flushed is there when it is opened again', () =>
      withDevice((device, open) => {
        writeDevice(device, pattern(2 * device.blockSize, 5), 8 * device.blockSize);
        device.flush();
        device.shutdown();
        const again = open();
        try {
          assert.equal(again.size, device.size);
          assert.deepEqual(
            readBack(again, 2 * device.blockSize, 8 * device.blockSize),
            pattern(2 * device.blockSize, 5),
          );
        } finally {
          again.shutdown();
        }
      }));

    test('sanityCheck and quiesce may be called again; shutdown too', () =>
      withDevice((device) => {
        for (let i = 0; i < 3; i++) device.sanityCheck();
        for (let i = 0; i < 2; i++) device.quiesce();
        device.write(pattern(device.blockSize, 1), 0);
        device.sanityCheck();
        assert.deepEqual(readBack(device, device.blockSize, 0), pattern(device.blockSize, 1));
        device.shutdown();
        device.shutdown();
        assert.throws(() => device.write(new Uint8Array(device.blockSize), 0), DeviceError);
        assert.throws(() => device.flush(), DeviceError);
      }));

    test('agrees with a model over random calls', () => {
      const seed = 0x5eed;
      const random = seededRandom(seed);
      withDevice((device) => {
        const blocks = 256;
        const model = new Uint8Array(blocks * device.blockSize);
        writeDevice(device, model, 0);
        for (let step = 0; step < 400; step++) {
          const at = randomBelow(random, blocks);
          const count = 1 + randomBelow(random, Math.min(blocks - at, 24));
          const [start, end] = [at * device.blockSize, (at + count) * device.blockSize];
          const kind = randomBelow(random, 10);
          if (kind < 6) {
            model.subarray(start, end).set(pattern(end - start, step));
            writeDevice(device, model.subarray(start, end), start);
          } else if (kind < 9) {
            assert.deepEqual(
              readBack(device, end - start, start),
              model.slice(start, end),
              `step ${step}, seed ${seed}`,
            );
          } else device.flush();
          device.poll?.(step);
        }
        assert.deepEqual(readBack(device, model.length, 0), model, `seed ${seed}`);
      });
    });

    test('the common check refuses what lies outside or between blocks', () =>
      withDevice((device) => {
        const { blockSize, size } = device;
        for (const [offset, length] of [
          [size, blockSize],
          [size - blockSize, 2 * blockSize],
          [1, blockSize],
          [0, blockSize - 1],
          [0, 0],
          [-blockSize, blockSize],
        ] as const)
          assert.throws(() => checkTransfer(device, 'read', offset, length), AssertionError);
      }));
  });
}

/** Bytes that tell seed and place. */
export function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >>> 9) * 7 + seed * 101) & 0xff;
  return bytes;
}

/** `length` bytes of the device at `offset`. */
export function readBack(device: DumpDevice, length: number, offset: number): Uint8Array {
  const bytes = new Uint8Array(length);
  readDevice(device, bytes, offset);
  return bytes;
}
