/**
 * How long it takes to make 128 GB a dump device: the command on a sparse file, and the same work on a device that takes 10 ms
 * for each read, write and flush, as a disk that seeks.
 *
 *     node bench/format.ts
 *
 * Budgets: 0.2 s from the first look
 * at the file to the label on it, as the command states; 6 s on the slow device.
 */

import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DumpDevice } from '../src/base/device.ts';
import { BlockDevice } from '../src/driver/block.ts';
import { formatDevice, planFormat } from '../src/format/kdump/device-format.ts';
import { nodeCrc32 } from '../src/host/codecs.ts';
import { probeDevice } from '../src/host/device-probe.ts';
import { randomUuid } from '../src/host/random.ts';
import { ROOT } from '../tools/build.ts';
import { median, runMeasured } from './measure.ts';

const BYTES = 128e9;
const ROUNDS = 7;
const DELAY_MS = 10;
const BUDGET = { sparse: 0.2, slow: 6 };
const CLI = join(ROOT, 'dist/cli/main.mjs');

const scratch = mkdtempSync(join(tmpdir(), 'diskdump-bench-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
let failed = false;

const file = join(scratch, 'device');
const command = [process.execPath, CLI, 'format', '--json', '--for-ram', '64G', file];
const stated: number[] = [];
const whole: number[] = [];
let peak = 0;
for (let round = 0; round < ROUNDS; round++) {
  makeSparse(file);
  const { status, stdout, stderr } = spawnSync(command[0] as string, command.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  stated.push(JSON.parse(stdout).seconds);
  makeSparse(file);
  const measured = await runMeasured(command, {});
  whole.push(measured.seconds);
  peak = Math.max(peak, measured.peakRssBytes);
}
report('sparse file of 128 GB', median(stated), BUDGET.sparse);
console.log(`  the whole command ${median(whole).toFixed(3)} s, peak RSS ${(peak / 2 ** 20).toFixed(0)} MiB`);

makeSparse(file);
const slow = slowDevice(BlockDevice.open(file));
const begun = performance.now();
slow.device.sanityCheck();
probeDevice(slow.device);
const plan = planFormat(slow.device, { uuid: randomUuid(), nowMs: Date.now() });
slow.device.quiesce();
probeDevice(slow.device);
formatDevice(slow.device, plan, { crc: nodeCrc32 });
report(`${DELAY_MS} ms for each I/O, ${slow.count()} of them`, (performance.now() - begun) / 1000, BUDGET.slow);
slow.device.shutdown();
process.exitCode = failed ? 1 : 0;

function report(name: string, seconds: number, budget: number): void {
  if (seconds > budget) failed = true;
  console.log(`${name}   ${seconds.toFixed(3)} s, ${seconds > budget ? 'over' : 'within'} the budget of ${budget} s`);
}

function makeSparse(path: string): void {
  rmSync(path, { force: true });
  const fd = openSync(path, 'w');
  ftruncateSync(fd, BYTES);
  closeSync(fd);
}

/** The device with a delay before each read, write and flush. */
function slowDevice(device: DumpDevice): { device: DumpDevice; count: () => number } {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let count = 0;
  const delay = (): void => {
    count++;
    Atomics.wait(cell, 0, 0, DELAY_MS);
  };
  return {
    count: () => count,
    device: {
      name: device.name,
      blockSize: device.blockSize,
      size: device.size,
      maxTransfer: device.maxTransfer,
      location: device.location,
      sanityCheck: () => device.sanityCheck(),
      quiesce: () => device.quiesce(),
      read(target, offset) {
        delay();
        device.read(target, offset);
      },
      write(bytes, offset) {
        delay();
        device.write(bytes, offset);
      },
      flush() {
        delay();
        device.flush();
      },
      shutdown: () => device.shutdown(),
    },
  };
}
