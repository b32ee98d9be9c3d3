import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attachLoop, detachLoop, hasLoop, scratchFolder, smallTmpfs, sparseFile } from '../../test/driver/scratch.ts';
import { buildElf } from '../../test/support/elf-builder.ts';
import { formatUuid } from '../base/hex.ts';
import { BlockDevice } from '../driver/block.ts';
import { formatDevice, planFormat } from '../format/kdump/device-format.ts';
import { openDeviceDump } from '../format/kdump/device-vmcore.ts';
import { nodeCodecs } from '../host/codecs.ts';
import { randomUuid } from '../host/random.ts';
import { STAGE1_SCHEMA, type Stage1Config, type Stage1Device } from './config.ts';

const MIB = 2 ** 20;
const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));

/** A machine of some MiB: random pages with zero pages between. */
function machineFile(mib: number): { path: string; memory: Uint8Array } {
  const memory = new Uint8Array(randomBytes(mib * MIB));
  for (let at = 0; at < memory.length; at += 5 * 4096) memory.fill(0, at, at + 4096);
  const path = join(scratchFolder('/dev/shm'), 'vmcore');
  writeFileSync(path, buildElf({ segments: [{ paddr: 0x100000n, vaddr: 0xffff888000100000n, data: memory }] }));
  return { path, memory };
}

/** A loop device over `file`, formatted, as it would be registered. */
function registered(file: string): Stage1Device {
  const path = attachLoop(file) as string;
  const device = BlockDevice.open(path);
  const uuid = randomUuid();
  const options = { uuid, nowMs: Date.now(), sampleRate: 4, logAreaBytes: 65536 };
  formatDevice(device, planFormat(device, options));
  const { size } = device;
  device.shutdown();
  return { path, uuid: formatUuid(uuid), id: { serial: '', wwid: '', bus: '', start: 0, size } };
}

interface Run {
  readonly outcome: string;
  readonly result: Record<string, unknown>;
  readonly lines: readonly string[];
  readonly signal: string | null;
}

function stage1(config: Partial<Stage1Config> | string, folder = scratchFolder()): Run {
  const arguments_ = prepare(config, folder);
  const child = spawnSync(process.execPath, arguments_, { encoding: 'utf8', timeout: 60_000 });
  const [outcome, json] = readFileSync(join(folder, 'result'), 'utf8').split('\n');
  return {
    outcome: outcome as string,
    result: JSON.parse(json as string),
    lines: child.stdout.split('\n'),
    signal: child.signal,
  };
}

function prepare(config: Partial<Stage1Config> | string, folder: string): string[] {
  const file = join(folder, 'stage1.json');
  const whole = { schema: STAGE1_SCHEMA, deviceWaitMs: 100, ...(typeof config === 'string' ? {} : config) };
  writeFileSync(file, typeof config === 'string' ? config : JSON.stringify(whole));
  return [MAIN, '--config', file, '--run', folder];
}

/** Every page on the device is that of the machine. */
function assertDump(path: string, memory: Uint8Array): void {
  const device = BlockDevice.open(path, { writable: false });
  const dump = openDeviceDump(device, { codecs: nodeCodecs() });
  assert.equal(dump.state, 'complete', dump.partialReason ?? '');
  const page = new Uint8Array(4096);
  for (let at = 0; at < memory.length; at += 4096) {
    dump.readPage(0x100 + at / 4096, page);
    assert.deepEqual(page, memory.subarray(at, at + 4096), `page at ${at}`);
  }
  device.shutdown();
}

const sha256 = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

describe('stage 1 always says how it ended', () => {
  test('a configuration that does not read: failed', () => {
    const run = stage1('{');
    assert.equal(run.outcome, 'failed');
    assert.match(String(run.result.error), /reading the configuration/);
    assert.equal(run.signal, 'SIGKILL');
  });

  test('a machine that is not there: failed', () => {
    const run = stage1({ devices: [], vmcore: '/nonexistent' });
    assert.equal(run.outcome, 'failed');
    const words = 'diskdump: no dump: open of /nonexistent: no such file or directory (ENOENT)';
    assert.ok(run.lines.includes(words));
  });

  test('no device: no-device, after the wait', () => {
    const id = { serial: '', wwid: '', bus: '', start: 0, size: 12345 * 512 };
    const devices = [{ path: '/dev/gone', uuid: '00000000-0000-0000-0000-000000000001', id }];
    const run = stage1({ devices, vmcore: machineFile(1).path });
    assert.equal(run.outcome, 'no-device');
    assert.deepEqual(run.result.refused, [
      { device: '/dev/gone', code: 'DEVICE_NOT_FOUND', message: '/dev/gone is not there' },
    ]);
  });
});

if (hasLoop()) {
  describe('stage 1 on block devices', () => {
    test('writes a dump, and leaves an unformatted disk alone that is listed first', () => {
      const machine = machineFile(6);
      const decoyFile = sparseFile(24 * MIB);
      writeFileSync(decoyFile, randomBytes(24 * MIB));
      const before = sha256(decoyFile);
      const decoy = attachLoop(decoyFile) as string;
      const good = registered(sparseFile(16 * MIB));
      const decoyId = { serial: '', wwid: '', bus: '', start: 0, size: 24 * MIB };
      const run = stage1({
        devices: [{ path: decoy, uuid: formatUuid(randomUuid()), id: decoyId }, good],
        vmcore: machine.path,
        machineName: 'test',
      });
      assert.equal(run.outcome, 'complete', run.lines.join('\n'));
      assert.equal(run.result.device, good.path);
      assert.deepEqual(
        (run.result.refused as { code: string }[]).map(({ code }) => code),
        ['DEVICE_NOT_OURS'],
      );
      assert.ok(run.lines.includes(`diskdump: device verified: ${good.path}`));
      assert.ok(run.lines.some((line) => /^diskdump: dump complete: 1536 pages, /.test(line)));
      assertDump(good.path, machine.memory);
      detachLoop(decoy);
      assert.equal(sha256(decoyFile), before);
      detachLoop(good.path);
    });

    test('a disk that fails in mid-dump is noted, the next one gets the dump', () => {
      const machine = machineFile(6);
      const thin = registered(sparseFile(24 * MIB, smallTmpfs(3 * MIB)));
      const good = registered(sparseFile(16 * MIB));
      const folder = scratchFolder();
      const run = stage1({ devices: [thin, good], vmcore: machine.path }, folder);
      assert.equal(run.outcome, 'complete', run.lines.join('\n'));
      assert.equal(run.result.device, good.path);
      assert.equal(run.result.part, 2);
      assert.equal(readFileSync(join(folder, 'tried'), 'latin1'), `${thin.uuid}\n`);
      assertDump(good.path, machine.memory);
      detachLoop(thin.path);
      detachLoop(good.path);
    });

    test('killed and started again it goes on where it was', async () => {
      const machine = machineFile(96);
      const device = registered(sparseFile(160 * MIB));
      const folder = scratchFolder();
      const config = { devices: [device], vmcore: machine.path };
      await killWhenWriting(prepare(config, folder));
      const run = stage1(config, folder);
      assert.equal(run.outcome, 'complete', run.lines.join('\n'));
      assertDump(device.path, machine.memory);
      detachLoop(device.path);
    });
  });
}

/** Starts stage 1 and kills it soon after it has begun to write. */
function killWhenWriting(arguments_: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, arguments_, { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.on('data', (chunk) => {
      if (String(chunk).includes('device verified')) setTimeout(() => child.kill('SIGKILL'), 60);
    });
    child.on('exit', () => resolve());
  });
}
