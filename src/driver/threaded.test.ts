import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { dumpDeviceSuite, pattern, readBack } from '../../test/conformance/dump-device.ts';
import {
  attachLoop,
  cleanUp,
  detachLoop,
  failsWith,
  hasLoop,
  scratchFolder,
  smallTmpfs,
  sparseFile,
} from '../../test/driver/scratch.ts';
import { exitNow } from '../sys/process.ts';
import { abandonedThreads, ThreadedDevice } from './threaded.ts';

const MIB = 2 ** 20;

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const HANGING = new URL('../../test/driver/hanging-thread.ts', import.meta.url);
const SMALL = { slots: 4, slotBytes: 65536 };

dumpDeviceSuite('thread over a file', () => {
  const path = sparseFile(8 * MIB);
  return { open: () => ThreadedDevice.open(path), cleanUp() {} };
});

dumpDeviceSuite('thread over a file, small slots', () => {
  const path = sparseFile(8 * MIB, scratchFolder('/dev/shm'));
  return { open: () => ThreadedDevice.open(path, SMALL), cleanUp() {} };
});

dumpDeviceSuite('thread over a file, one slot', () => {
  const path = sparseFile(8 * MIB);
  return { open: () => ThreadedDevice.open(path, { slots: 1 }), cleanUp() {} };
});

if (hasLoop()) {
  dumpDeviceSuite('thread over a loop device', () => {
    const loop = attachLoop(sparseFile(8 * MIB));
    assert.ok(loop);
    return { open: () => ThreadedDevice.open(loop), cleanUp: () => detachLoop(loop) };
  });

  describe('a failing device behind a thread', () => {
    test('a failed write surfaces at a later call, names its place, and is told once', () => {
      const loop = attachLoop(sparseFile(16 * MIB, smallTmpfs(2 * MIB)));
      assert.ok(loop);
      const device = ThreadedDevice.open(loop);
      const error = failsWith(
        () => {
          for (let offset = 0; offset < 16 * MIB; offset += MIB) device.write(pattern(MIB, offset), offset);
          device.flush();
        },
        { operation: 'write', errno: 'ENOSPC', offset: 2 * MIB },
      );
      assert.match(error.message, /write of 1048576 bytes at 0x200000/);
      assert.deepEqual(readBack(device, MIB, 0), pattern(MIB, 0));
      device.flush();
      device.shutdown();
      detachLoop(loop);
    });

    test('it is let go after a failure, without another one', () => {
      const loop = attachLoop(sparseFile(16 * MIB, smallTmpfs(2 * MIB)));
      assert.ok(loop);
      for (const told of [true, false]) {
        const device = ThreadedDevice.open(loop);
        const fill = (): void => {
          for (let offset = 0; offset < 16 * MIB; offset += MIB) device.write(pattern(MIB, offset), offset);
          device.flush();
        };
        if (told) {
          failsWith(fill, { operation: 'write', errno: 'ENOSPC' });
          device.shutdown();
        } else {
          device.write(pattern(MIB, 1), 12 * MIB);
          failsWith(() => device.shutdown(), { operation: 'write', errno: 'ENOSPC', offset: 12 * MIB });
        }
        // O_EXCL would not have it twice.
        ThreadedDevice.open(loop).shutdown();
      }
      detachLoop(loop);
    });

    test('nothing is written behind a failed write before the engine knows', () => {
      const folder = smallTmpfs(2 * MIB);
      writeFileSync(join(folder, 'ballast'), new Uint8Array(MIB + MIB / 2));
      const loop = attachLoop(sparseFile(16 * MIB, folder));
      assert.ok(loop);
      // The thread is woken when half of its ring is full: here by the first write.
      const device = ThreadedDevice.open(loop, { slots: 2 });
      device.write(pattern(MIB, 1), 4 * MIB);
      // The write has filled what there was and failed: then room again, of which the engine does not know that there was none.
      for (let tries = 0; statfsSync(folder).bavail > 0; tries++) {
        assert.ok(tries < 300, 'the thread writes within 30 s');
        sleep(100);
      }
      sleep(2000);
      truncateSync(join(folder, 'ballast'), 0);
      failsWith(
        () => {
          device.write(pattern(MIB, 2), 8 * MIB);
          device.flush();
        },
        { operation: 'write', errno: 'ENOSPC', offset: 4 * MIB },
      );
      assert.deepEqual(readBack(device, MIB, 8 * MIB), new Uint8Array(MIB));
      device.write(pattern(MIB, 2), 8 * MIB);
      device.flush();
      assert.deepEqual(readBack(device, MIB, 8 * MIB), pattern(MIB, 2));
      device.shutdown();
      detachLoop(loop);
    });

    test('a failed read names its place', () => {
      const file = sparseFile(16 * MIB);
      const loop = attachLoop(file);
      assert.ok(loop);
      const device = ThreadedDevice.open(loop);
      truncateSync(file, MIB);
      failsWith(() => device.read(new Uint8Array(4096), 8 * MIB), { operation: 'read', errno: 'EIO', offset: 8 * MIB });
      device.write(pattern(4096, 3), 0);
      assert.deepEqual(readBack(device, 4096, 0), pattern(4096, 3));
      device.shutdown();
      detachLoop(loop);
    });
  });
}

describe('opening behind a thread', () => {
  test('fails as opening does', () => {
    failsWith(() => ThreadedDevice.open(join(scratchFolder(), 'absent')), { operation: 'open', errno: 'ENOENT' });
    failsWith(() => ThreadedDevice.open('/dev/full'), { operation: 'open', errno: 'ENODEV' });
  });

  test('the device passes the page cache by where it can', () => {
    const device = ThreadedDevice.open(sparseFile(4 * MIB));
    assert.equal(typeof device.direct, 'boolean');
    assert.equal(device.discard(0, MIB), true);
    device.shutdown();
  });
});

describe('a device that hangs', () => {
  const hanging = (deadlineMs: number, onWait?: () => void) => {
    const folder = scratchFolder();
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    const path = join(folder, 'device');
    const open = () =>
      ThreadedDevice.open(path, { ...SMALL, deadlineMs, threadUrl: HANGING, ...(onWait ? { onWait } : {}) });
    return { path, open, hang: (file = 'hang') => writeFileSync(join(folder, file), '') };
  };

  for (const operation of ['flush', 'read', 'sanityCheck', 'quiesce'] as const) {
    test(`in ${operation} is given up after its deadline, and for good`, () => {
      const { open, hang } = hanging(300);
      const device = open();
      assert.equal(device.location.serial, 'HANGS');
      hang();
      const before = abandonedThreads();
      const begun = performance.now();
      failsWith(() => (operation === 'read' ? device.read(new Uint8Array(512), 0) : device[operation]()), {
        errno: 'ETIMEDOUT',
      });
      const tookMs = performance.now() - begun;
      assert.ok(tookMs >= 290 && tookMs < 3000, `${tookMs} ms`);
      assert.equal(abandonedThreads(), before + 1);
      assert.equal(device.dead, true);
      const again = performance.now();
      failsWith(() => device.write(new Uint8Array(512), 0), { errno: 'ETIMEDOUT' });
      failsWith(() => device.flush(), { errno: 'ETIMEDOUT' });
      device.shutdown();
      assert.ok(performance.now() - again < 50);
    });
  }

  test('takes writes until its slots are full', () => {
    const { open, hang } = hanging(300);
    const device = open();
    hang();
    for (let i = 0; i < SMALL.slots; i++) device.write(pattern(65536, i), i * 65536);
    failsWith(() => device.write(pattern(65536, 9), 9 * 65536), { operation: 'write', errno: 'ETIMEDOUT', offset: 0 });
  });

  test('while it is opened is given up too', () => {
    const { open, hang } = hanging(400);
    hang('hang-open');
    failsWith(open, { operation: 'open', errno: 'ETIMEDOUT' });
  });

  test('whoever watches us hears of us while we wait', () => {
    let heard = 0;
    const { open, hang } = hanging(2500, () => heard++);
    const device = open();
    hang();
    failsWith(() => device.flush(), { errno: 'ETIMEDOUT' });
    assert.ok(heard >= 2, `heard ${heard} times`);
  });

  for (const end of ['exit', 'kill'] as const) {
    test(`does not keep the process from ending: ${end}`, () => {
      const { path } = hanging(300);
      const script = fileURLToPath(new URL('../../test/driver/end-with-hanging-device.ts', import.meta.url));
      const child = spawnSync(process.execPath, [script, dirname(path), end], { encoding: 'utf8', timeout: 20_000 });
      assert.match(child.stdout, /\(ETIMEDOUT\); 1 abandoned/);
      if (end === 'exit') assert.equal(child.status, 7);
      else assert.equal(child.signal, 'SIGKILL');
    });
  }

  // These threads never end, so neither would this process by itself.
  after(() => {
    setTimeout(() => {
      cleanUp();
      exitNow(Number(process.exitCode ?? 0));
    }, 500);
  });
});
