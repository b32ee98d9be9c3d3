/**
 * The fallback script under busybox, with a file for /proc/vmcore and files for dump devices: it writes where everything
 * fits, and nowhere else a single byte.
 */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findBusybox } from '../../src/host/initramfs.ts';

const SCRIPTS = fileURLToPath(new URL('../../src/host/capture-root/', import.meta.url));
const PAGE = 4096;
const SIZE = 1 << 20;
const AREA = 8 * 65536;
const LABEL = SIZE - 65536;
const IDENTITY = Buffer.alloc(PAGE, 'identity of device one ');
const HEADER = Buffer.alloc(2 * PAGE, 'DDLOGTST header ');

const busybox = findBusybox();
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-fallback-'));
  for (const folder of ['dev', 'sys/class/block', 'parts', 'run']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, 'parts/header'), HEADER);
  // From 0x3000, six pages: they cross from the first segment into the second.
  writeFileSync(join(root, 'parts/ranges'), `${0x3000} ${6 * PAGE} ${4 * PAGE}\n${0x100000} ${PAGE} ${16 * PAGE}\n`);
  writeFileSync(join(root, 'vmcore'), core());
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

test('both scripts are sound shell', () => {
  for (const script of ['init', 'fallback']) execFileSync(busybox, ['sh', '-n', join(SCRIPTS, script)]);
});

test('the ranges are copied from the segments that hold them, then the header', () => {
  addDevice('vdb', device());
  arm('device-1');
  const { status, out } = run();
  assert.equal(status, 0, out);
  const written = readFileSync(join(root, 'dev/vdb'));
  assert.deepEqual(written.subarray(AREA, AREA + HEADER.length), HEADER);
  for (let page = 0; page < 6; page++) {
    const at = AREA + (4 + page) * PAGE;
    assert.deepEqual(written.subarray(at, at + PAGE), memory(0x3000 + page * PAGE), `page ${page}`);
  }
  assert.deepEqual(written.subarray(AREA + 16 * PAGE, AREA + 17 * PAGE), memory(0x100000));
  const expected = device();
  written.copy(expected, AREA, AREA, AREA + 17 * PAGE);
  assert.deepEqual(written, expected, 'nothing else was written');
});

test('the second copy of the label will do', () => {
  const bytes = device();
  bytes.fill(0, LABEL, LABEL + PAGE);
  addDevice('vdb', bytes);
  arm('device-1');
  assert.equal(run().status, 0);
});

test('nothing is written where the identity, the size or the start is another', () => {
  const foreign = device();
  foreign[LABEL + 20]! ^= 1;
  foreign[LABEL + 32768 + 20]! ^= 1;
  addDevice('vda', foreign);
  addDevice('vdb', device(), { sectors: SIZE / 512 - 8 });
  addDevice('vdc', device(), { start: 2048 });
  arm('device-1');
  const before = devices();
  const { status, out } = run();
  assert.equal(status, 1);
  assert.match(out, /not saved/);
  assert.deepEqual(devices(), before);
});

test('a log that nobody has saved yet is left alone, and the next device takes this one', () => {
  const full = device();
  HEADER.copy(full, AREA);
  full.fill('older log', AREA + HEADER.length, AREA + 5 * PAGE);
  addDevice('vdb', full);
  const second = Buffer.alloc(PAGE, 'identity of device two ');
  addDevice('vdc', device(second));
  arm('device-1');
  arm('device-2', second);
  const { status, out } = run();
  assert.equal(status, 0, out);
  assert.match(out, /vdb holds a log/);
  assert.deepEqual(readFileSync(join(root, 'dev/vdb')), full);
  assert.deepEqual(readFileSync(join(root, 'dev/vdc')).subarray(AREA, AREA + HEADER.length), HEADER);
});

test('two disks with one label are a clone: neither is written', () => {
  addDevice('vdb', device(), { wwid: 'disk-1' });
  addDevice('vdc', device(), { wwid: 'disk-2' });
  arm('device-1');
  const before = devices();
  const { status, out } = run();
  assert.equal(status, 1);
  assert.match(out, /same label/);
  assert.deepEqual(devices(), before);
});

test('two paths to one disk are no clone', () => {
  addDevice('vdb', device(), { wwid: 'disk-1' });
  addDevice('vdc', device(), { wwid: 'disk-1' });
  arm('device-1');
  assert.equal(run().status, 0);
});

test('memory that the core does not have ends without a header', () => {
  writeFileSync(join(root, 'parts/ranges'), `${0x900000} ${PAGE} ${4 * PAGE}\n`);
  addDevice('vdb', device());
  arm('device-1');
  const { status, out } = run();
  assert.equal(status, 1);
  assert.match(out, /0x900000 is not in/);
  assert.deepEqual(readFileSync(join(root, 'dev/vdb')), device());
});

test('a file that is no core is refused', () => {
  writeFileSync(join(root, 'vmcore'), Buffer.alloc(8192));
  addDevice('vdb', device());
  arm('device-1');
  const { status, out } = run();
  assert.equal(status, 1);
  assert.match(out, /no ELF core/);
});

function run(): { status: number | null; out: string } {
  const result = spawnSync(busybox, ['sh', join(SCRIPTS, 'fallback')], {
    encoding: 'utf8',
    timeout: 30_000,
    env: {
      PATH: process.env.PATH,
      VMCORE: join(root, 'vmcore'),
      SYSFS: join(root, 'sys'),
      DEV: join(root, 'dev'),
      PARTS: join(root, 'parts'),
      RUN: join(root, 'run'),
      DEVICE_SECONDS: '2',
    },
  });
  return { status: result.status, out: result.stdout + result.stderr };
}

/** A formatted device: both label copies, other bytes everywhere but in the empty log area. */
function device(identity = IDENTITY): Buffer {
  const bytes = Buffer.alloc(SIZE, 'old bytes ');
  bytes.fill(0, AREA, LABEL);
  identity.copy(bytes, LABEL);
  identity.copy(bytes, LABEL + 32768);
  return bytes;
}

function addDevice(name: string, bytes: Buffer, facts: { sectors?: number; start?: number; wwid?: string } = {}): void {
  const folder = join(root, 'sys/class/block', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'size'), `${facts.sectors ?? bytes.length / 512}\n`);
  if (facts.start !== undefined) writeFileSync(join(folder, 'start'), `${facts.start}\n`);
  if (facts.wwid !== undefined) writeFileSync(join(folder, 'wwid'), `${facts.wwid}\n`);
  writeFileSync(join(root, 'dev', name), bytes);
}

function arm(name: string, identity = IDENTITY): void {
  const folder = join(root, 'parts', name);
  mkdirSync(folder);
  writeFileSync(join(folder, 'identity'), identity);
  writeFileSync(join(folder, 'place'), `SIZE=${SIZE}\nSTART=0\nLABEL=${LABEL}\nAREA=${AREA}\n`);
}

function devices(): Record<string, Buffer> {
  const names = execFileSync('ls', [join(root, 'dev')], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean);
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(root, 'dev', name))]));
}

/** The page at a physical address of the machine. */
function memory(paddr: number): Buffer {
  return Buffer.alloc(PAGE, `memory at 0x${paddr.toString(16)} `);
}

/** An ELF64 core: a note, memory 0x2000..0x6000 and 0x6000..0xc000 far apart in the file, memory at 1 MiB. */
function core(): Buffer {
  const segments = [
    { type: 4, paddr: 0, size: 64, offset: 0x1000 },
    { type: 1, paddr: 0x2000, size: 0x4000, offset: 0x20000 },
    { type: 1, paddr: 0x6000, size: 0x6000, offset: 0x8000 },
    { type: 1, paddr: 0x100000, size: 0x1000, offset: 0x2000 },
  ];
  const file = Buffer.alloc(0x30000);
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  file.writeUInt16LE(4, 16);
  file.writeUInt16LE(62, 18);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(56, 54);
  file.writeUInt16LE(segments.length, 56);
  for (const [n, { type, paddr, size, offset }] of segments.entries()) {
    const at = 64 + n * 56;
    file.writeUInt32LE(type, at);
    file.writeUInt32LE(7, at + 4);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(0xffff888000000000n + BigInt(paddr), at + 16);
    file.writeBigUInt64LE(BigInt(paddr), at + 24);
    file.writeBigUInt64LE(BigInt(size), at + 32);
    file.writeBigUInt64LE(BigInt(size), at + 40);
    if (type !== 1) continue;
    for (let page = 0; page < size; page += PAGE) memory(paddr + page).copy(file, offset + page);
  }
  return file;
}
