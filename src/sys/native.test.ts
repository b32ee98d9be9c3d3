import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attachLoop, detachLoop, hasLoop, scratchFolder, sparseFile } from '../../test/driver/scratch.ts';
import { DeviceError } from '../base/errors.ts';
import { deviceNumber, discardRange, flushBuffers, readBlockFacts } from './block.ts';
import { deviceError, errnoName, errnoNumber, errnoOf } from './errno.ts';
import { dropCached, openPath, punchHole } from './file.ts';
import { MAP_ALIGNMENT, MappedWindow } from './mapping.ts';
import { KOFFI_VARIABLE, nativeCalls } from './native.ts';

describe('a mapped window', () => {
  const file = join(scratchFolder(), 'mapped');
  const content = new Uint8Array(5 * MAP_ALIGNMENT).map((_, i) => (i >>> 16) * 10 + (i & 7));
  writeFileSync(file, content);

  test('shows one part of a file after the other under the same bytes', () => {
    const window = MappedWindow.reserve(2 * MAP_ALIGNMENT);
    assert.ok(window, 'koffi loads where tests run');
    const fd = openSync(file, 'r');
    for (const part of [0, 3, 1, 2, 0]) {
      assert.equal(window.show(fd, part * MAP_ALIGNMENT, 2 * MAP_ALIGNMENT), true);
      const at = part * MAP_ALIGNMENT;
      assert.deepEqual(window.bytes.slice(), content.slice(at, at + 2 * MAP_ALIGNMENT), `part ${part}`);
    }
    window.clear();
    closeSync(fd);
  });

  test('says so when the kernel will not map, and never lays anything there again', () => {
    const window = MappedWindow.reserve(MAP_ALIGNMENT);
    assert.ok(window);
    const fd = openSync(file, 'r');
    assert.equal(window.show(999_999, 0, MAP_ALIGNMENT), false);
    assert.equal(window.show(fd, 0, MAP_ALIGNMENT), false);
    closeSync(fd);
  });
});

describe('files', () => {
  test('give blocks back, and their cached pages', () => {
    const file = join(scratchFolder('/dev/shm'), 'punched');
    writeFileSync(file, new Uint8Array(2 ** 20).fill(7));
    const fd = openPath(file, { writable: true, direct: false, exclusive: false });
    const before = statSync(file).blocks;
    assert.equal(punchHole(fd, 0, 2 ** 19), true);
    assert.ok(statSync(file).blocks < before);
    assert.equal(statSync(file).size, 2 ** 20);
    assert.equal(dropCached(fd), true);
    closeSync(fd);
    assert.equal(punchHole(999_999, 0, 1), false);
  });
});

if (hasLoop()) {
  describe('a block device', () => {
    const loop = attachLoop(sparseFile(64 * 2 ** 20, scratchFolder('/dev/shm')), ['--sector-size', '4096']) as string;
    const facts = {
      size: 64 * 2 ** 20,
      logicalBlock: 4096,
      readOnly: false,
      start: 0,
      serial: '',
    };

    test('tells its facts', () => {
      const fd = openPath(loop, { writable: true, direct: false, exclusive: true });
      const { major, minor, ...rest } = readBlockFacts(fd, loop);
      assert.deepEqual(rest, facts);
      assert.deepEqual([major, minor], [7, Number(loop.slice('/dev/loop'.length))]);
      assert.equal(flushBuffers(fd), true);
      assert.equal(discardRange(fd, 0, 2 ** 20), true);
      closeSync(fd);
    });

    test('tells the same facts and drives the same device where koffi does not load', () => {
      const script = fileURLToPath(new URL('../../test/driver/without-koffi.ts', import.meta.url));
      const child = spawnSync(process.execPath, [script, loop], {
        encoding: 'utf8',
        env: { ...process.env, [KOFFI_VARIABLE]: 'none' },
      });
      assert.equal(child.status, 0, child.stderr);
      const answer = JSON.parse(child.stdout);
      assert.deepEqual(answer.facts, { ...answer.facts, ...facts });
      assert.deepEqual(
        { ...answer, facts: undefined },
        {
          facts: undefined,
          native: false,
          flushed: false,
          discarded: false,
          mapped: false,
          readBack: true,
        },
      );
    });

    process.on('exit', () => detachLoop(loop));
  });
}

test('a library that is none leaves us without one', () => {
  const file = join(scratchFolder(), 'koffi.node');
  writeFileSync(file, 'not a library');
  const script = `import { nativeCalls } from ${JSON.stringify(new URL('native.ts', import.meta.url).href)};
    process.stdout.write(String(nativeCalls()?.origin));`;
  for (const [value, expected] of [
    [file, 'undefined'],
    ['none', 'undefined'],
    ['', nativeCalls()?.origin],
  ] as const) {
    const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      env: { ...process.env, [KOFFI_VARIABLE]: value },
    });
    assert.equal(child.stdout.trim(), expected, `${value}: ${child.stderr}`);
  }
});

test('device numbers of more than 8 bits', () => {
  assert.deepEqual(deviceNumber(0x0fe00), { major: 254, minor: 0 });
  // glibc's makedev(259, 300): minor above bit 12, major above bit 32 only from 4096 on.
  assert.deepEqual(deviceNumber(((300 & ~0xff) << 12) | (259 << 8) | (300 & 0xff)), { major: 259, minor: 300 });
  assert.deepEqual(deviceNumber(2 ** 44 + 0x100), { major: 0x1001, minor: 0 });
});

describe('error numbers', () => {
  test('have names, both ways', () => {
    assert.equal(errnoName(5), 'EIO');
    assert.equal(errnoName(-28), 'ENOSPC');
    assert.equal(errnoName(99_999), 'errno 99999');
    assert.equal(errnoNumber('ETIMEDOUT'), 110);
    assert.equal(errnoNumber('NONE'), 0);
    assert.equal(errnoOf(new Error('no number')), undefined);
    assert.equal(errnoOf(undefined), undefined);
  });

  test('become errors that say what, where, how much', () => {
    const error = deviceError({ device: '/dev/vdb', operation: 'write', offset: 4096, length: 512, errno: 'EIO' });
    assert.ok(error instanceof DeviceError);
    assert.equal(error.message, 'write of 512 bytes at 0x1000 of /dev/vdb: the disk reports an error (EIO)');
    assert.equal(error.code, 'DEVICE_WRITE');
    assert.match(error.hint ?? '', /kernel log/);
    assert.equal(
      deviceError({ device: '/dev/vdb', operation: 'open', errno: 'EBUSY' }).message,
      'open of /dev/vdb: it is in use (EBUSY)',
    );
  });
});
