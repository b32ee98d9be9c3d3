import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { findByModalias, type ModuleTree, openModuleTree, planModules, readModule } from './kernel-modules.ts';
import { findDeviceModules, findWatchdog } from './kernel-modules-device.ts';

let root: string;
let tree: ModuleTree;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-modules-'));
  const files: Record<string, string> = {
    'lib/modules.dep': [
      'kernel/drivers/virtio/virtio.ko:',
      'kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko',
      'kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko',
      'kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko',
      'kernel/drivers/nvme/host/nvme-core.ko.zst:',
      'kernel/drivers/nvme/host/nvme.ko.gz: kernel/drivers/nvme/host/nvme-core.ko.zst',
      'kernel/crypto/crc32c_generic.ko:',
      'kernel/fs/ext4/ext4.ko:',
      'kernel/drivers/watchdog/i6300esb.ko:',
      'kernel/drivers/watchdog/softdog.ko:',
      '',
    ].join('\n'),
    'lib/modules.builtin': 'kernel/drivers/ata/libata.ko\n',
    'lib/modules.softdep': '# comment\nsoftdep ext4 pre: crc32c-generic absent post: other\n',
    'lib/modules.alias':
      '# comment\nalias pci:v00008086d000025ABsv*sd*bc*sc*i* i6300esb\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d0000000[23]v* virtio_blk\n',
  };
  for (const [path, content] of Object.entries(files)) write(path, content);
  write('lib/kernel/drivers/virtio/virtio.ko', 'plain module');
  const xz = execFileSync('xz', ['-c'], { input: 'module in xz' });
  write('lib/kernel/drivers/block/virtio_blk.ko.xz', xz);
  write('lib/kernel/drivers/nvme/host/nvme-core.ko.zst', zstdCompressSync('module in zstd'));
  write('lib/kernel/drivers/nvme/host/nvme.ko.gz', gzipSync('module in gzip'));
  tree = openModuleTree(join(root, 'lib'));
  layOutSysfs();
});

after(() => rmSync(root, { recursive: true, force: true }));

const names = (wanted: readonly string[]): string[] => planModules(tree, wanted).map(({ name }) => name);

test('each module comes after what it needs, once', () => {
  assert.deepEqual(names(['virtio_blk', 'virtio-pci']), ['virtio', 'virtio_ring', 'virtio_blk', 'virtio_pci']);
});

test('soft dependencies go before; those that are not there are passed over', () => {
  assert.deepEqual(names(['ext4']), ['crc32c_generic', 'ext4']);
});

test('a built-in one needs nothing, an unknown one is refused', () => {
  assert.deepEqual(names(['libata']), []);
  assert.throws(() => names(['megaraid']), { code: 'MODULE_UNKNOWN', message: /megaraid/ });
});

test('modules are read decompressed', () => {
  const contents = planModules(tree, ['virtio_blk', 'nvme'])
    .filter(({ name }) => name !== 'virtio_ring')
    .map((module) => Buffer.from(readModule(tree, module)).toString());
  assert.deepEqual(contents, ['plain module', 'module in xz', 'module in zstd', 'module in gzip']);
});

test('aliases match as shell patterns do, of modules in one folder', () => {
  const watchdog = 'pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00';
  assert.deepEqual(findByModalias(tree, '/watchdog/', [watchdog]), ['i6300esb']);
  assert.deepEqual(findByModalias(tree, '/block/', [watchdog]), []);
  assert.deepEqual(findByModalias(tree, '/block/', ['virtio:d00000002v00001AF4']), ['virtio_blk']);
  assert.deepEqual(findByModalias(tree, '/block/', ['virtio:d00000004v00001AF4']), []);
});

test('a tree without modules.dep says what to do', () => {
  assert.throws(() => openModuleTree(join(root, 'absent')), { code: 'MODULES_MISSING', hint: /depmod absent/ });
});

test('drivers are found from the bus to the disk, for a partition too', () => {
  assert.deepEqual(findDeviceModules(join(root, 'sys'), 'vda'), ['virtio_pci', 'virtio_blk']);
  assert.deepEqual(findDeviceModules(join(root, 'sys'), 'vda1'), ['virtio_pci', 'virtio_blk']);
});

test('a stacked device has the drivers of its members', () => {
  assert.deepEqual(findDeviceModules(join(root, 'sys'), 'dm-0'), ['virtio_pci', 'virtio_blk']);
});

test('a multipath NVMe has the drivers of its controllers', () => {
  assert.deepEqual(findDeviceModules(join(root, 'sys'), 'nvme0n1'), ['nvme']);
});

test('a watchdog that no driver has taken yet is found by its alias', () => {
  assert.deepEqual(findWatchdog(join(root, 'sys'), tree), {
    modules: ['i6300esb'],
    identity: 'i6300esb',
    loaded: false,
  });
});

test('one that is running goes first, and a software watchdog counts for nothing', () => {
  const sys = join(root, 'sys');
  write('sys/devices/virtual/watchdog/watchdog0/identity', 'Software Watchdog\n');
  link('sys/class/watchdog/watchdog0', 'sys/devices/virtual/watchdog/watchdog0');
  assert.equal(findWatchdog(sys, tree)?.loaded, false);
  write('sys/devices/pci0000:00/0000:00:02.0/watchdog/watchdog1/identity', 'i6300ESB timer\n');
  link('sys/devices/pci0000:00/0000:00:02.0/driver/module', 'sys/module/i6300esb');
  link('sys/class/watchdog/watchdog1', 'sys/devices/pci0000:00/0000:00:02.0/watchdog/watchdog1');
  assert.deepEqual(findWatchdog(sys, tree), { modules: ['i6300esb'], identity: 'i6300ESB timer', loaded: true });
});

/** A virtio disk with a partition, a mapping over it, an NVMe namespace with its controller elsewhere, a watchdog. */
function layOutSysfs(): void {
  const pci = 'sys/devices/pci0000:00';
  write(`${pci}/0000:00:05.0/virtio2/block/vda/vda1/partition`, '1\n');
  link(`${pci}/0000:00:05.0/driver/module`, 'sys/module/virtio_pci');
  link(`${pci}/0000:00:05.0/virtio2/driver/module`, 'sys/module/virtio_blk');
  link('sys/class/block/vda', `${pci}/0000:00:05.0/virtio2/block/vda`);
  link('sys/class/block/vda1', `${pci}/0000:00:05.0/virtio2/block/vda/vda1`);
  link('sys/devices/virtual/block/dm-0/slaves/vda1', `${pci}/0000:00:05.0/virtio2/block/vda/vda1`);
  link('sys/class/block/dm-0', 'sys/devices/virtual/block/dm-0');
  const subsystem = 'sys/devices/virtual/nvme-subsystem/nvme-subsys0';
  write(`${subsystem}/nvme0n1/size`, '1\n');
  write(`${pci}/0000:00:06.0/nvme/nvme0/model`, 'x\n');
  link(`${pci}/0000:00:06.0/driver/module`, 'sys/module/nvme');
  link(`${subsystem}/nvme0`, `${pci}/0000:00:06.0/nvme/nvme0`);
  link('sys/class/block/nvme0n1', `${subsystem}/nvme0n1`);
  write(`${pci}/0000:00:02.0/modalias`, 'pci:v00008086d000025ABsv00001AF4sd00001100bc08sc80i00\n');
  link('sys/bus/pci/devices/0000:00:02.0', `${pci}/0000:00:02.0`);
}

function write(path: string, content: string | Uint8Array): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

function link(path: string, target: string): void {
  mkdirSync(join(root, target), { recursive: true });
  mkdirSync(join(root, dirname(path)), { recursive: true });
  symlinkSync(join(root, target), join(root, path));
}
