import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { dumpDeviceSuite, pattern, readBack } from '../../test/conformance/dump-device.ts';
import {
  attachLoop,
  detachLoop,
  failsWith,
  hasLoop,
  scratchFolder,
  smallTmpfs,
  sparseFile,
} from '../../test/driver/scratch.ts';
import { BlockDevice } from './block.ts';

const MIB = 2 ** 20;
const TIB = 2 ** 40;

function overFile(options: Parameters<typeof BlockDevice.open>[1], folder?: string) {
  return () => {
    const path = sparseFile(8 * MIB + 1000, folder ?? scratchFolder());
    return { open: () => BlockDevice.open(path, options), cleanUp() {} };
  };
}

dumpDeviceSuite('file', overFile({}));
dumpDeviceSuite('file, buffered', overFile({ direct: false }));
dumpDeviceSuite('file, short transfers', overFile({ maxTransfer: 8192 }));
dumpDeviceSuite('file on tmpfs', overFile({}, scratchFolder('/dev/shm')));

if (hasLoop()) {
  for (const sector of [512, 4096]) {
    dumpDeviceSuite(`loop device with blocks of ${sector}`, () => {
      const loop = attachLoop(sparseFile(8 * MIB), ['--sector-size', String(sector)]);
      assert.ok(loop);
      return { open: () => BlockDevice.open(loop), cleanUp: () => detachLoop(loop) };
    });
  }
}

describe('a file', () => {
  test('counts in blocks of 512 bytes, the rest of it is not used', () => {
    const device = BlockDevice.open(sparseFile(MIB + 5000));
    assert.deepEqual([device.blockSize, device.size], [512, MIB + 4608]);
    assert.deepEqual(device.location, { start: 0, serial: '' });
    device.shutdown();
  });

  test('past 2^32 blocks of 4 KiB', () => {
    const path = sparseFile(20 * TIB, scratchFolder('/dev/shm'));
    const device = BlockDevice.open(path);
    assert.equal(device.size, 20 * TIB);
    for (const offset of [8 * TIB - 4096, 8 * TIB, 16 * TIB - 4096, 16 * TIB, 20 * TIB - 4096]) {
      device.write(pattern(4096, offset / 4096), offset);
    }
    device.flush();
    for (const offset of [8 * TIB - 4096, 8 * TIB, 16 * TIB - 4096, 16 * TIB, 20 * TIB - 4096]) {
      assert.deepEqual(readBack(device, 4096, offset), pattern(4096, offset / 4096), `at ${offset}`);
    }
    assert.deepEqual(readBack(device, 4096, 0), new Uint8Array(4096));
    device.shutdown();
  });

  test('gives its blocks back when a range is discarded', () => {
    const path = sparseFile(4 * MIB, scratchFolder('/dev/shm'));
    const device = BlockDevice.open(path);
    device.write(pattern(MIB, 1), 0);
    const before = statSync(path).blocks;
    assert.equal(device.discard(0, MIB), true);
    assert.ok(statSync(path).blocks < before);
    assert.deepEqual(readBack(device, 4096, 0), new Uint8Array(4096));
    device.shutdown();
  });

  test('that shrank fails its sanity check, and a read past its end', () => {
    const path = sparseFile(4 * MIB);
    const device = BlockDevice.open(path);
    truncateSync(path, MIB);
    failsWith(() => device.sanityCheck(), { operation: 'probe', errno: 'ENXIO' });
    failsWith(() => device.read(new Uint8Array(4096), 2 * MIB), { operation: 'read', errno: 'ENXIO', offset: 2 * MIB });
    device.shutdown();
  });

  test('opened for reading is never written', () => {
    const device = BlockDevice.open(sparseFile(MIB), { writable: false });
    failsWith(() => device.write(new Uint8Array(4096), 0), { operation: 'write', errno: 'EBADF' });
    device.flush();
    device.shutdown();
  });

  test('that is none is refused', () => {
    const folder = scratchFolder();
    mkdirSync(join(folder, 'folder'));
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    failsWith(() => BlockDevice.open(join(folder, 'absent')), { operation: 'open', errno: 'ENOENT' });
    failsWith(() => BlockDevice.open(join(folder, 'folder')), { operation: 'open', errno: 'ENODEV' });
    failsWith(() => BlockDevice.open(join(folder, 'fifo')), { operation: 'open', errno: 'ENODEV' });
    failsWith(() => BlockDevice.open('/dev/full'), { operation: 'open', errno: 'ENODEV' });
  });
});

if (hasLoop()) {
  describe('a block device', () => {
    test('past 2^32 blocks of 512 bytes', () => {
      const loop = attachLoop(sparseFile(12 * TIB, scratchFolder('/dev/shm')));
      assert.ok(loop);
      const device = BlockDevice.open(loop);
      assert.deepEqual([device.size, device.blockSize], [12 * TIB, 512]);
      for (const offset of [2 * TIB, 8 * TIB, 12 * TIB - 512]) device.write(pattern(512, offset / 512), offset);
      device.flush();
      for (const offset of [2 * TIB, 8 * TIB, 12 * TIB - 512])
        assert.deepEqual(readBack(device, 512, offset), pattern(512, offset / 512), `at ${offset}`);
      device.shutdown();
      detachLoop(loop);
    });

    test('is taken for us alone', () => {
      const loop = attachLoop(sparseFile(4 * MIB));
      assert.ok(loop);
      const device = BlockDevice.open(loop);
      failsWith(() => BlockDevice.open(loop), { operation: 'open', errno: 'EBUSY' });
      BlockDevice.open(loop, { exclusive: false }).shutdown();
      device.shutdown();
      detachLoop(loop);
    });

    test('that is write-protected is refused', () => {
      const loop = attachLoop(sparseFile(4 * MIB), ['--read-only']);
      assert.ok(loop);
      // Kernels differ: some refuse to open it for writing, the others let its sanity check say so.
      failsWith(() => BlockDevice.open(loop).sanityCheck(), {});
      const device = BlockDevice.open(loop, { writable: false });
      device.sanityCheck();
      device.shutdown();
      detachLoop(loop);
    });

    test('that turns write-protected fails its sanity check', () => {
      const loop = attachLoop(sparseFile(4 * MIB));
      assert.ok(loop);
      const device = BlockDevice.open(loop);
      execFileSync('blockdev', ['--setro', loop]);
      failsWith(() => device.sanityCheck(), { operation: 'probe', errno: 'EROFS' });
      execFileSync('blockdev', ['--setrw', loop]);
      device.shutdown();
      detachLoop(loop);
    });

    test('whose medium fails says where: EIO', () => {
      const file = sparseFile(16 * MIB);
      const loop = attachLoop(file);
      assert.ok(loop);
      const device = BlockDevice.open(loop);
      device.write(pattern(MIB, 1), 0);
      truncateSync(file, MIB);
      failsWith(() => device.read(new Uint8Array(4096), 8 * MIB), { operation: 'read', errno: 'EIO', offset: 8 * MIB });
      assert.deepEqual(readBack(device, MIB, 0), pattern(MIB, 1));
      device.shutdown();
      detachLoop(loop);
    });

    test('whose thin backing is full says where: ENOSPC', () => {
      const loop = attachLoop(sparseFile(16 * MIB, smallTmpfs(2 * MIB)));
      assert.ok(loop);
      const device = BlockDevice.open(loop);
      for (const offset of [0, MIB]) device.write(pattern(MIB, offset), offset);
      failsWith(() => device.write(pattern(MIB, 1), 8 * MIB), { operation: 'write', errno: 'ENOSPC', offset: 8 * MIB });
      assert.deepEqual(readBack(device, MIB, 0), pattern(MIB, 0));
      device.shutdown();
      detachLoop(loop);
    });
  });

  test('a file on a full file system: ENOSPC', () => {
    const device = BlockDevice.open(sparseFile(16 * MIB, smallTmpfs(MIB)));
    failsWith(
      () => {
        for (let offset = 0; offset < 16 * MIB; offset += MIB) device.write(pattern(MIB, 1), offset);
      },
      { operation: 'write', errno: 'ENOSPC' },
    );
    device.shutdown();
  });
}

test('a file is written by one of us at a time, and read by anybody', () => {
  const file = sparseFile(1 << 20);
  const writer = BlockDevice.open(file);
  failsWith(() => BlockDevice.open(file), { operation: 'open', errno: 'EBUSY' });
  BlockDevice.open(file, { writable: false }).shutdown();
  writer.shutdown();
  BlockDevice.open(file).shutdown();
});
