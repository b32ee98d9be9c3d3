import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { scratchFolder } from '../../test/driver/scratch.ts';
import type { DumpDevice } from '../base/device.ts';
import { DeviceError } from '../base/errors.ts';
import type { SystemRoots } from '../host/block-devices.ts';
import { deviceError } from '../sys/errno.ts';
import type { Stage1Device } from './config.ts';
import { stage1Finder } from './finder.ts';

const SECTORS = 2048;

/** Disks of one size by name and serial number. */
function disks(serials: Readonly<Record<string, string>>): SystemRoots {
  const root = scratchFolder();
  mkdirSync(join(root, 'class/block'), { recursive: true });
  for (const [i, [name, serial]] of Object.entries(serials).entries()) {
    const folder = join(root, `devices/pci0000:00/0000:00:0${i}.0/virtio${i}/block/${name}`);
    for (const [file, content] of Object.entries({
      dev: `254:${i * 16}`,
      size: `${SECTORS}`,
      serial,
      'queue/rotational': '0',
    })) {
      mkdirSync(dirname(join(folder, file)), { recursive: true });
      writeFileSync(join(folder, file), `${content}\n`);
    }
    symlinkSync(folder, join(root, 'class/block', name));
  }
  return { sys: root, proc: '/proc', dev: '/dev' };
}

const registered = (serial: string): Stage1Device => ({
  path: '/dev/sda',
  uuid: '00000000-0000-0000-0000-000000000001',
  id: { serial, wwid: '', bus: '', start: 0, size: SECTORS * 512 },
});

function find(serial: string, roots: SystemRoots, failing: Readonly<Record<string, string>> = {}): string[] {
  const open = (path: string): DumpDevice => {
    const errno = failing[path];
    if (errno !== undefined) throw deviceError({ device: path, operation: 'open', errno });
    return { name: path } as DumpDevice;
  };
  const finder = stage1Finder({ devices: [registered(serial)], deadlineMs: 1, onWait() {}, roots, open });
  return finder.find({ name: '/dev/sda' }).map(({ name }) => name);
}

describe('the finder', () => {
  test('opens the disk with the serial number, whatever its name', () => {
    assert.deepEqual(find('B', disks({ vda: 'A', vdb: 'B' })), ['/dev/vdb']);
  });

  test('opens all that cannot be told apart, so that labels decide and copies are seen', () => {
    assert.deepEqual(find('', disks({ vda: '', vdb: '' })), ['/dev/vda', '/dev/vdb']);
  });

  test('finds nothing while it is not there', () => {
    assert.deepEqual(find('C', disks({ vda: 'A' })), []);
    assert.deepEqual(find('A', { sys: '/nonexistent', proc: '/proc', dev: '/dev' }), []);
  });

  test('never takes memory or mapped devices', () => {
    assert.deepEqual(find('', disks({ zram0: '', 'dm-0': '', vda: '' })), ['/dev/vda']);
  });

  test('goes on with what opens; the first failure counts when nothing does', () => {
    const roots = disks({ vda: '', vdb: '' });
    assert.deepEqual(find('', roots, { '/dev/vda': 'EIO' }), ['/dev/vdb']);
    assert.throws(
      () => find('', roots, { '/dev/vda': 'ETIMEDOUT', '/dev/vdb': 'EIO' }),
      (error) => error instanceof DeviceError && error.failure.errno === 'ETIMEDOUT',
    );
  });
});
