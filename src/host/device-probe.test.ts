import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import type { RecordedDevice } from '../../test/driver/record-signs.ts';
import type { DumpDevice } from '../base/device.ts';
import { DumpError } from '../base/errors.ts';
import { randomBelow, seededRandom } from '../base/random.ts';
import { probeDevice, wipeFindings } from './device-probe.ts';

/** A device of which only some blocks are not zero. */
function sparseDevice(
  size: number,
  blocks: ReadonlyMap<number, Uint8Array> = new Map(),
): DumpDevice & { reads: number } {
  const written = new Map<number, Uint8Array>();
  for (const [offset, bytes] of blocks)
    for (let at = 0; at < bytes.length; at += 512) written.set(offset + at, bytes.slice(at, at + 512));
  return {
    name: 'sparse',
    reads: 0,
    blockSize: 512,
    size,
    maxTransfer: 2 ** 20,
    location: { start: 0, serial: '' },
    sanityCheck() {},
    quiesce() {},
    read(target, offset) {
      this.reads++;
      target.fill(0);
      for (let at = 0; at < target.length; at += 512) {
        const block = written.get(offset + at);
        if (block) target.set(block.subarray(0, target.length - at), at);
      }
    },
    write(bytes, offset) {
      for (let at = 0; at < bytes.length; at += 512) written.set(offset + at, bytes.slice(at, at + 512));
    },
    flush() {},
    shutdown() {},
  };
}

const recorded = JSON.parse(
  readFileSync(new URL('../../test/driver/fixtures/device-signs.json', import.meta.url), 'utf8'),
) as RecordedDevice[];

function restore({ size, blocks }: RecordedDevice): DumpDevice & { reads: number } {
  return sparseDevice(
    size,
    new Map(
      Object.entries(blocks).map(([offset, data]) => [Number(offset), inflateRawSync(Buffer.from(data, 'base64'))]),
    ),
  );
}

/** A device of 64 MiB with these bytes at these offsets, from the end where negative. */
function built(places: Readonly<Record<number, readonly number[] | string>>): DumpDevice {
  const size = 64 * 2 ** 20;
  const blocks = new Map<number, Uint8Array>();
  for (const [place, content] of Object.entries(places)) {
    const offset = Number(place) < 0 ? size + Number(place) : Number(place);
    const start = Math.floor(offset / 4096) * 4096;
    const block = blocks.get(start) ?? new Uint8Array(8192);
    const bytes = typeof content === 'string' ? [...content].map((char) => char.charCodeAt(0)) : content;
    block.set(bytes, offset - start);
    blocks.set(start, block);
  }
  return sparseDevice(size, blocks);
}

const names = (device: DumpDevice): string[] => probeDevice(device).findings.map(({ name }) => name);

describe('what programs leave on a device is named', () => {
  recorded.forEach((device, index) => {
    test(`${device.expected[0]} of ${device.tool} (${index})`, () => {
      assert.deepEqual(names(restore(device)).sort(), [...device.expected].sort());
    });
  });

  const md = [0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0];
  const cases: readonly (readonly [string, Readonly<Record<number, readonly number[] | string>>])[] = [
    ["member of an md array (metadata 1.1) 'host:0'", { 0: md, 32: 'host:0' }],
    ["member of an md array (metadata 1.2) 'host:1'", { 4096: md, 4128: 'host:1' }],
    ['member of an md array (metadata 1.0)', { [-8192]: md }],
    ['member of an md array (metadata 0.90)', { [-65536]: [0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0, 90] }],
    ['member of an md array (metadata 0.90)', { [-65536]: [0xa9, 0x2b, 0x4e, 0xfc] }],
    ['member of a firmware RAID (DDF)', { [-512]: [0xde, 0x11, 0xde, 0x11] }],
    ['member of a firmware RAID (Intel)', { [-1024]: 'Intel Raid ISM Cfg Sig. 1.3.00' }],
    ['DRBD volume', { [-4096 + 60]: [0x83, 0x74, 0x02, 0x6d] }],
    ['member of a ZFS pool', { [131072 + 4096]: [0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0] }],
    ['member of a ZFS pool', { [-262144 + 131072]: [0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c] }],
    ['Ceph BlueStore device', { 0: 'bluestore block device\n' }],
    ['backup of a GPT partition table', { [-4096]: 'EFI PART' }],
    ['image of a suspended system', { 4086: 'S1SUSPEND\0' }],
    ['swap space', { 65526: 'SWAPSPACE2' }],
    ['KDUMP dump', { 0: 'KDUMP   ' }],
    ['DISKDUMP dump', { 0: 'DISKDUMP' }],
    [
      'dump-device signatures without a label: a format that was cut, or the original diskdump',
      { 0: 'diskdump\0\0\0\0' },
    ],
    ['flattened makedumpfile dump', { 0: 'makedumpfile\0\0\0\0' }],
    ['OCFS2 file system', { 4096: 'OCFSV2' }],
    ['GFS2 file system', { 65536: [0x01, 0x16, 0x19, 0x70] }],
    ['APFS container', { 32: 'NXSB' }],
    ['member of a VMFS volume', { 1048576: [0x0d, 0xd0, 0x01, 0xc0] }],
  ];
  cases.forEach(([name, places], index) => {
    test(`${name} (${index})`, () => assert.deepEqual(names(built(places)), [name]));
  });
});

test('an empty device shows nothing, in a few transfers whatever its size', () => {
  const device = sparseDevice(20 * 2 ** 40);
  assert.deepEqual(probeDevice(device), { findings: [] });
  assert.ok(device.reads <= 3, `${device.reads} reads`);
});

test('a device of one block is probed too', () => {
  assert.deepEqual(probeDevice(sparseDevice(512)), { findings: [] });
  assert.deepEqual(probeDevice(sparseDevice(0)), { findings: [] });
});

test('our label hides the signatures of its device, not what lies beside them', () => {
  const uuid = Array.from({ length: 16 }, (_, i) => i + 1);
  const device = built({
    0: 'diskdump\0\0\0\0',
    [-65536]: ['DDIDENT', ''].flatMap((text) => [...text].map((char) => char.charCodeAt(0))),
    [-65536 + 16]: uuid,
    [-65536 + 4096]: 'DDSTATE',
    [-65536 + 4096 + 12]: [4],
    65526: 'SWAPSPACE2',
  });
  const contents = probeDevice(device);
  assert.deepEqual(contents.label, { uuid: '01020304-0506-0708-090a-0b0c0d0e0f10', state: 4 });
  assert.deepEqual(
    contents.findings.map(({ type }) => type),
    ['swap'],
  );
});

test('what was found is gone after it was wiped, what lies beside it stays', () => {
  for (const fixture of recorded) {
    const device = restore(fixture);
    wipeFindings(device, probeDevice(device).findings);
    // A second superblock at another place is another finding.
    wipeFindings(device, probeDevice(device).findings);
    assert.deepEqual(names(device), [], fixture.tool);
  }
  const device = built({ 4086: 'SWAPSPACE2', 4000: [7] });
  wipeFindings(device, probeDevice(device).findings);
  const block = new Uint8Array(512);
  device.read(block, 3584);
  assert.equal(block[4000 - 3584], 7);
});

test('any bytes end in a list or a DumpError', () => {
  const random = seededRandom(4711);
  for (let round = 0; round < 60; round++) {
    const fixture = recorded[randomBelow(random, recorded.length)] as RecordedDevice;
    const device = restore(fixture);
    for (const offset of Object.keys(fixture.blocks)) {
      const block = new Uint8Array(4096);
      device.read(block, Number(offset));
      for (let i = 0; i < 24; i++) block[randomBelow(random, 4096)] = randomBelow(random, 256);
      device.write(block, Number(offset));
    }
    try {
      for (const { name } of probeDevice(device).findings) assert.ok(/^[\x20-\x7e]+$/.test(name), name);
    } catch (error) {
      assert.ok(error instanceof DumpError, `round ${round}: ${error}`);
    }
  }
});
