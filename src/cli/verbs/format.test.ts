import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import type { RecordedDevice } from '../../../test/driver/record-signs.ts';
import { attachLoop, detachLoop, hasLoop, scratchFolder, sparseFile } from '../../../test/driver/scratch.ts';
import { runCli } from '../../../test/support/terminal.ts';
import { BlockDevice } from '../../driver/block.ts';
import { readLabel, writeLabelState } from '../../format/kdump/label.ts';
import { STATE } from '../../format/kdump/log-layout.ts';
import { probeDevice } from '../../host/device-probe.ts';

const MIB = 2 ** 20;
const SMALL = ['--for-ram', '64M', '--log-area', '1M'];

const recorded = JSON.parse(
  readFileSync(new URL('../../../test/driver/fixtures/device-signs.json', import.meta.url), 'utf8'),
) as RecordedDevice[];

/** A file that a program has made a file system of. */
function fixtureFile(name: string): string {
  const fixture = recorded.find(({ expected }) => expected[0] === name) as RecordedDevice;
  const path = sparseFile(fixture.size);
  const fd = openSync(path, 'r+');
  for (const [offset, data] of Object.entries(fixture.blocks))
    writeSync(fd, inflateRawSync(Buffer.from(data, 'base64')), 0, null, Number(offset));
  closeSync(fd);
  return path;
}

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('format', () => {
  test('makes a file a dump device, and says how large it should be', async () => {
    const path = sparseFile(96 * MIB);
    const { code, out } = await runCli('format', path, ...SMALL);
    assert.equal(code, 0);
    assert.match(out, /^disk_dump: total blocks required: \d+ \(header \d+ \+ bitmap 4 \+ memory 16384\)$/m);
    assert.match(out, /is a dump device, label [0-9a-f-]{36}: 96\.0 MiB, 256 blocks signed/);
    assert.doesNotMatch(out, /short by/);
    assert.equal((await runCli('check', path)).code, 0);
    const again = await runCli('format', '--dry-run', path, ...SMALL);
    assert.equal(again.code, 0);
    assert.match(again.err, /is the dump device [0-9a-f-]{36} now: its label would be replaced/);
  });

  test('a device that is not there is not to be made with truncate', async () => {
    assert.match((await runCli('format', '/dev/loop1p1-absent')).err, /is not there\nhint: `lsblk`/);
    assert.match((await runCli('format', '/nonexistent/file')).err, /is not there\nhint: for a file: `truncate/);
  });

  test('answers in JSON as documented', async () => {
    const path = sparseFile(96 * MIB);
    const { out } = await runCli('format', path, '--json', ...SMALL, '--sample-rate', '5');
    const answer = JSON.parse(out);
    assert.equal(answer.schema, 'diskdump.format/1');
    assert.equal(answer.device, path);
    assert.match(answer.uuid, /^[0-9a-f-]{36}$/);
    assert.equal(answer.sizeBytes, 96 * MIB);
    assert.equal(answer.capacityBytes, 95 * MIB - 65536);
    assert.equal(answer.sampleRate, 5);
    assert.equal(answer.signedBlocks, 32);
    assert.equal(answer.layout, 'log');
    assert.equal('destroyed' in answer, false);
    assert.equal(answer.shortfallBytes, 0);
  });

  test('a device smaller than memory is accepted with its shortfall', async () => {
    const path = sparseFile(96 * MIB);
    const { code, out } = await runCli('format', path, '--for-ram', '1T');
    assert.equal(code, 1);
    const larger = sparseFile(2 ** 30);
    const accepted = await runCli('format', larger, '--for-ram', '32G', '--json');
    assert.equal(accepted.code, 0, out);
    assert.ok(JSON.parse(accepted.out).shortfallBytes > 31 * 2 ** 30);
  });

  test('a device too small for the first pass is refused with the size needed', async () => {
    const { code, err } = await runCli('format', sparseFile(4 * MIB), '--for-ram', '64M', '--json');
    assert.equal(code, 1);
    const document = JSON.parse(err.split('\n').find((line) => line.startsWith('{')) as string);
    assert.equal(document.code, 'DEVICE_TOO_SMALL');
    assert.ok(document.data.required > 16 * MIB);
    assert.match(err, /are needed/);
  });

  for (const name of [
    "ext4 file system 'root'",
    'GPT partition table',
    'LVM2 physical volume',
    'swap space',
    'LUKS2 encrypted volume',
  ]) {
    test(`refuses a device with ${name}, and --force names what it destroys`, async () => {
      const path = fixtureFile(name);
      const before = sha256(path);
      const refused = await runCli('format', path, ...SMALL);
      assert.equal(refused.code, 1);
      assert.ok(refused.err.includes(`holds: ${name}`), refused.err);
      assert.match(refused.err, /hint: `diskdump format --force/);
      const dry = await runCli('format', path, '--dry-run', ...SMALL);
      assert.equal(dry.code, 0);
      assert.ok(dry.out.includes(`would destroy: ${name}`));
      assert.equal(sha256(path), before);
      const forced = await runCli('format', path, '--force', '--json', ...SMALL);
      assert.equal(forced.code, 0);
      assert.ok(JSON.parse(forced.out).destroyed.includes(name));
      const device = BlockDevice.open(path, { writable: false });
      assert.deepEqual(probeDevice(device).findings, []);
      device.shutdown();
    });
  }

  test('an unsaved dump is refused by name; a saved one is not missed', async () => {
    const path = sparseFile(96 * MIB);
    await runCli('format', path, ...SMALL);
    const setState = (state: 'complete' | 'saved'): void => {
      const device = BlockDevice.open(path);
      const { label } = readLabel(device);
      writeLabelState(device, label!, { state, dumpUuid: new Uint8Array(16).fill(5), part: 1 });
      device.shutdown();
    };
    setState('complete');
    assert.equal(STATE.complete, 4);
    const refused = await runCli('format', path, ...SMALL);
    assert.equal(refused.code, 1);
    assert.match(refused.err, /unsaved dump on the dump device/);
    assert.match(refused.err, /diskdump save/);
    setState('saved');
    const again = await runCli('format', path, ...SMALL);
    assert.equal(again.code, 0);
    assert.match(again.err, /arm the machine again/);
  });

  test('parameters: every block signed, the white paper’s constant', async () => {
    const path = sparseFile(40 * MIB);
    const refused = await runCli('format', path, '--sample-rate', '0', ...SMALL);
    assert.equal(refused.code, 2);
    assert.match(refused.err, /add --full/);
    const full = await runCli(
      'format',
      path,
      '--sample-rate',
      '0',
      '--full',
      '--signature-add',
      '3',
      '--json',
      ...SMALL,
    );
    assert.equal(full.code, 0, full.err);
    assert.equal(JSON.parse(full.out).signedBlocks, (39 * MIB - 65536) / 4096 - 2);
    const checked = await runCli('check', path, '--json');
    assert.deepEqual(JSON.parse(checked.out).problems, []);
  });

  test('the configuration gives defaults', async () => {
    const config = join(scratchFolder(), 'diskdump.toml');
    writeFileSync(config, 'sample_rate = 4\nlog_area_kib = 2048\n');
    const { out } = await runCli('format', sparseFile(96 * MIB), '--config', config, '--for-ram', '64M', '--json');
    const answer = JSON.parse(out);
    assert.deepEqual([answer.sampleRate, answer.logAreaBytes], [4, 2 * MIB]);
  });

  test('what is no device and no file is refused', async () => {
    const folder = scratchFolder();
    writeFileSync(join(folder, 'empty'), '');
    for (const [path, expected, found] of [
      [join(folder, 'absent'), 3, /is not there/],
      [folder, 2, /neither a block device nor a file/],
      [join(folder, 'empty'), 1, /has no bytes/],
      ['/dev/null', 2, /neither/],
    ] as const) {
      const { code, err } = await runCli('format', path);
      assert.equal(code, expected, path);
      assert.match(err, found);
    }
  });
});

if (hasLoop()) {
  describe('format never touches what is in use', () => {
    test('a mounted file system, even with --force', async () => {
      const file = sparseFile(64 * MIB);
      execFileSync('mkfs.ext4', ['-q', file]);
      const loop = attachLoop(file) as string;
      const folder = scratchFolder();
      execFileSync('mount', [loop, folder]);
      const { code, err } = await runCli('format', '--force', loop, ...SMALL);
      execFileSync('umount', [folder]);
      assert.equal(code, 1);
      assert.match(err, new RegExp(`${loop} is in use: ${loop} is mounted on ${folder}`));
      assert.match(err, /not even with --force/);
      detachLoop(loop);
    });

    test('a file under a loop device', async () => {
      const file = sparseFile(64 * MIB);
      const loop = attachLoop(file) as string;
      const { code, err } = await runCli('format', '--force', file, ...SMALL);
      assert.equal(code, 1);
      assert.match(err, new RegExp(`lies under ${loop}`));
      detachLoop(loop);
    });

    test('a device that somebody else has opened alone', async () => {
      const loop = attachLoop(sparseFile(64 * MIB)) as string;
      const other = BlockDevice.open(loop);
      const { code, err } = await runCli('format', '--force', loop, ...SMALL);
      other.shutdown();
      assert.equal(code, 1);
      assert.match(err, /EBUSY/);
      detachLoop(loop);
    });

    test('a free block device is formatted, discarded first where asked', async () => {
      const loop = attachLoop(sparseFile(64 * MIB)) as string;
      const { code, out } = await runCli('format', '--wipe', 'discard', loop, ...SMALL);
      assert.equal(code, 0, out);
      assert.equal((await runCli('check', loop)).code, 0);
      detachLoop(loop);
    });
  });
}
