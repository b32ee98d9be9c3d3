import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { attachLoop, detachLoop, hasLoop, scratchFolder, sparseFile } from '../../test/driver/scratch.ts';
import { UsageError } from '../base/errors.ts';
import {
  type DeviceId,
  findDevices,
  findMounts,
  identifyDevice,
  isSwap,
  listBlockDevices,
  type SystemRoots,
} from './block-devices.ts';
import { findUsers } from './device-probe.ts';

/** A machine's /sys, /proc and /dev from a few lines: path below /sys/devices → files. */
function layOut(
  devices: Readonly<Record<string, Readonly<Record<string, string>>>>,
  proc: Readonly<Record<string, string>> = {},
): SystemRoots {
  const root = scratchFolder();
  const roots = { sys: join(root, 'sys'), proc: join(root, 'proc'), dev: '/dev' };
  mkdirSync(join(roots.sys, 'class/block'), { recursive: true });
  mkdirSync(join(roots.sys, 'dev/block'), { recursive: true });
  for (const [path, files] of Object.entries(devices)) {
    const folder = join(roots.sys, 'devices', path);
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    symlinkSync(folder, join(roots.sys, 'class/block', folder.split('/').at(-1) as string));
    symlinkSync(folder, join(roots.sys, 'dev/block', (files.dev as string).trim()));
  }
  for (const [name, content] of Object.entries(proc)) {
    mkdirSync(dirname(join(roots.proc, name)), { recursive: true });
    writeFileSync(join(roots.proc, name), content);
  }
  return roots;
}

const QUEUE = { 'queue/logical_block_size': '512\n', 'queue/rotational': '0\n', removable: '0\n', ro: '0\n' };
const PCI = 'pci0000:00/0000:00:05.0';
const machine = (disk = 'vda'): SystemRoots =>
  layOut(
    {
      [`${PCI}/virtio2/block/${disk}`]: { dev: '254:0\n', size: '16777216\n', serial: 'DISK-A\n', ...QUEUE },
      [`${PCI}/virtio2/block/${disk}/${disk}1`]: {
        dev: '254:1\n',
        size: '2048\n',
        start: '2048\n',
        partition: '1\n',
        ro: '0\n',
      },
      [`${PCI}/virtio2/block/${disk}/${disk}2`]: {
        dev: '254:2\n',
        size: '4096\n',
        start: '4096\n',
        partition: '2\n',
        ro: '0\n',
        'holders/dm-0/x': '',
      },
      'pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda': {
        dev: '8:0\n',
        size: '16777216\n',
        ...QUEUE,
        'device/wwid': 'naa.5000c500a1b2c3d4\n',
        'device/model': 'ST1000\n',
        'queue/rotational': '1\n',
      },
      'virtual/block/dm-0': { dev: '253:0\n', size: '4096\n', ...QUEUE, 'slaves/vda2/x': '' },
      'virtual/block/loop0': { dev: '7:0\n', size: '100\n', ...QUEUE },
      'virtual/block/loop1': { dev: '7:1\n', size: '0\n', ...QUEUE },
      'virtual/block/zram0': { dev: '252:0\n', size: '100\n', ...QUEUE },
    },
    {
      'self/mountinfo': `29 1 254:1 / /boot\\040dir rw,relatime shared:1 - ext4 /dev/${disk}1 rw
30 1 0:30 / /data rw - btrfs /dev/sda rw
31 1 0:5 / /proc rw - proc proc rw
`,
      swaps: 'Filename\t\t\t\tType\t\tSize\n/dev/dm-0                               partition\t2048\t0\t-2\n',
    },
  );

describe('block devices by /sys', () => {
  const roots = machine();
  const devices = listBlockDevices(roots);
  const get = (name: string) => devices.find((device) => device.name === name)!;

  test('all that have a size, in order', () => {
    assert.deepEqual(
      devices.map(({ name, kind }) => `${name} ${kind}`),
      ['dm-0 mapped', 'loop0 loop', 'sda disk', 'vda disk', 'vda1 partition', 'vda2 partition', 'zram0 memory'],
    );
  });

  test('sizes and starts are in bytes, a partition has its disk’s serial number', () => {
    const { size, start, disk, serial, logicalBlock, path } = get('vda2');
    assert.deepEqual(
      [size, start, disk, serial, logicalBlock, path],
      [2 ** 21, 2 ** 21, 'vda', 'DISK-A', 512, '/dev/vda2'],
    );
    assert.deepEqual(get('vda').partitions, ['vda1', 'vda2']);
    assert.deepEqual(
      [get('sda').model, get('sda').rotational, get('sda').wwid],
      ['ST1000', true, 'naa.5000c500a1b2c3d4'],
    );
  });

  test('who uses them', () => {
    assert.deepEqual(findMounts(get('vda1'), roots), ['/boot dir']);
    assert.deepEqual(findMounts(get('sda'), roots), ['/data']);
    assert.deepEqual(findMounts(get('vda2'), roots), []);
    assert.equal(isSwap(get('dm-0'), roots), true);
    assert.equal(isSwap(get('vda2'), roots), false);
    assert.deepEqual(findUsers(get('vda'), roots), ['/dev/vda1 is mounted on /boot dir', '/dev/vda2 is held by dm-0']);
    assert.deepEqual(findUsers(get('loop0'), roots), []);
  });

  test('no /sys is no device', () => {
    assert.deepEqual(listBlockDevices({ ...roots, sys: '/nonexistent' }), []);
  });
});

describe('a device is known again', () => {
  const id = (roots: SystemRoots, name: string): DeviceId => {
    const { serial, wwid, start, size, sysPath } = listBlockDevices(roots).find((device) => device.name === name)!;
    const bus = sysPath.split('/block/')[0]!.replace(/(virtio|ata|host|target)[\d:]+/g, '$1');
    return { serial, wwid, start, size, bus };
  };
  const found = (id: DeviceId, roots: SystemRoots): string[] =>
    findDevices(id, listBlockDevices(roots)).map(({ name }) => name);

  test('by its serial number, under another name', () => {
    assert.deepEqual(found(id(machine(), 'vda2'), machine('vdc')), ['vdc2']);
  });

  test('by its world-wide name; a disk of the same size with another identity does not fit', () => {
    assert.deepEqual(found(id(machine(), 'sda'), machine()), ['sda', 'vda']);
    assert.deepEqual(found({ ...id(machine(), 'sda'), wwid: 'naa.6' }, machine()), ['vda']);
    assert.deepEqual(found({ ...id(machine(), 'vda'), serial: 'DISK-B' }, machine()), ['sda']);
  });

  test('by the way through the buses where it has neither', () => {
    const bare = { ...id(machine(), 'sda'), wwid: '', serial: '' };
    assert.deepEqual(found({ ...bare, bus: 'devices/pci0000:00/0000:00:05.0/virtio' }, machine()), ['vda', 'sda']);
  });

  test('never in another place or size', () => {
    const disk = id(machine(), 'vda');
    assert.deepEqual(found({ ...disk, size: disk.size + 512 }, machine()), []);
    assert.deepEqual(found({ ...disk, start: 512 }, machine()), []);
  });
});

describe('identifyDevice', () => {
  test('refuses what the capture kernel will not have', () => {
    assert.throws(() => identifyDevice('/dev/null'), UsageError);
    assert.throws(() => identifyDevice('/nonexistent'), /ENOENT/);
    if (!hasLoop()) return;
    const loop = attachLoop(sparseFile(2 ** 20)) as string;
    assert.throws(
      () => identifyDevice(loop),
      (error) =>
        error instanceof UsageError && error.code === 'DEVICE_NOT_FOUND_AT_PANIC' && /loop device/.test(error.message),
    );
    detachLoop(loop);
  });
});
