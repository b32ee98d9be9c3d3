import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { findBusybox, type InitramfsContents, writeInitramfs } from './initramfs.ts';
import { openModuleTree, planModules } from './kernel-modules.ts';
import { buildRuntimeImage, openRuntimeImage } from './runtime-image.ts';

let root: string;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-initramfs-'));
  mkdirSync(join(root, 'modules'));
  writeFileSync(join(root, 'modules/modules.dep'), 'loop.ko:\nvirtio.ko:\nvirtio-blk.ko: virtio.ko\n');
  for (const name of ['loop.ko', 'virtio.ko', 'virtio-blk.ko']) writeFileSync(join(root, 'modules', name), name);
  mkdirSync(join(root, 'stage1/sub'), { recursive: true });
  writeFileSync(join(root, 'stage1/main.mjs'), 'export {};\n');
  writeFileSync(join(root, 'stage1/sub/part.wasm'), 'wasm');
});

after(() => rmSync(root, { recursive: true, force: true }));

test('the same input gives the same runtime image, which holds program, libraries and stage 1', () => {
  // Any dynamic program that knows --version stands for Node here: the real one takes 20 s to pack.
  const build = (cache: string) =>
    buildRuntimeImage({ node: '/bin/ls', stage1: join(root, 'stage1'), cache: join(root, cache) });
  const [one, two] = [build('one'), build('two')];
  assert.equal(one.sha256, two.sha256);
  assert.equal(one.sha256, createHash('sha256').update(readFileSync(one.path)).digest('hex'));
  const listed = execFileSync('unsquashfs', ['-l', '-d', '', one.path], { encoding: 'utf8' });
  for (const path of ['/bin/node', '/lib/libc.so.6', '/stage1/main.mjs', '/stage1/sub/part.wasm'])
    assert.ok(listed.includes(`${path}\n`), path);
  writeFileSync(join(root, 'stage1/main.mjs'), 'export default 1;\n');
  assert.notEqual(build('one').path, one.path, 'another stage 1 is another image');
});

test('a runtime image must be a squashfs, a stage 1 must be built', () => {
  writeFileSync(join(root, 'image'), Buffer.alloc(4096));
  assert.throws(() => openRuntimeImage(join(root, 'image')), { code: 'RUNTIME_IMAGE' });
  assert.throws(() => openRuntimeImage(join(root, 'absent')), { code: 'RUNTIME_IMAGE' });
  assert.throws(() => buildRuntimeImage({ node: '/bin/ls', stage1: root, cache: root }), { code: 'STAGE1_MISSING' });
});

test('two archives: the image, then what is small; the digest is that of the whole', () => {
  const initramfs = writeInitramfs(contents(), join(root, 'out.img'));
  const bytes = readFileSync(initramfs.path);
  assert.equal(initramfs.bytes, bytes.length);
  assert.equal(initramfs.sha256, createHash('sha256').update(bytes).digest('hex'));
  assert.equal(initramfs.moduleBytes, 'loop.ko'.length + 'virtio.ko'.length + 'virtio-blk.ko'.length);
  assert.equal(initramfs.runtimeBytes, 4096);
  const end = bytes.indexOf('TRAILER!!!') + 'TRAILER!!!\0'.length;
  const small = bytes.subarray(Math.ceil(end / 4) * 4);
  assert.deepEqual(list(bytes.subarray(0, bytes.length - small.length)), ['runtime.img']);
  const names = list(small);
  for (const name of ['init', 'fallback', 'bin/sh', 'dev/console', 'modules/virtio_blk.ko', 'etc/diskdump/stage1.json'])
    assert.ok(names.includes(name), name);
  assert.equal(extract(small, 'etc/diskdump/modules/device-1'), 'virtio.ko\nvirtio_blk.ko queue_depth=1\n');
  assert.equal(
    extract(small, 'etc/diskdump/init.conf'),
    'HEARTBEAT_SECONDS=60\nFALLBACK_SECONDS=30\nFINAL_ACTION=poweroff\n',
  );
});

test('the same contents give the same bytes', () => {
  const [one, two] = ['one', 'two'].map((name) => writeInitramfs(contents(), join(root, `${name}.img`)));
  assert.equal(one?.sha256, two?.sha256);
});

test('no static busybox is said with the package', () => {
  assert.throws(() => findBusybox(['/bin/ls', '/nonexistent']), { code: 'BUSYBOX_MISSING', hint: /busybox-static/ });
});

function contents(): InitramfsContents {
  const tree = openModuleTree(join(root, 'modules'));
  const image = Buffer.alloc(4096);
  image.write('hsqs');
  writeFileSync(join(root, 'runtime.img'), image);
  return {
    runtime: openRuntimeImage(join(root, 'runtime.img')),
    tree,
    lists: [
      { name: 'base', modules: planModules(tree, ['loop']) },
      {
        name: 'device-1',
        modules: planModules(tree, ['virtio_blk']),
        parameters: new Map([['virtio_blk', 'queue_depth=1']]),
      },
    ],
    busybox: findBusybox(),
    settings: { heartbeatSeconds: 60, fallbackSeconds: 30, finalAction: 'poweroff' },
    files: [{ path: 'etc/diskdump/stage1.json', bytes: Buffer.from('{}\n') }],
  };
}

function list(archive: Uint8Array): string[] {
  return execFileSync('cpio', ['-t', '--quiet'], { input: archive, encoding: 'utf8' }).trim().split('\n');
}

function extract(archive: Uint8Array, path: string): string {
  return execFileSync('cpio', ['-i', '--to-stdout', '--quiet', path], { input: archive, encoding: 'utf8' });
}
