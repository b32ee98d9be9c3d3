/**
 * A raw capture beside `dd bs=4M iflag=direct oflag=direct conv=fsync` of the same bytes to the same device.
 *
 *     node bench/capture.ts [GIB]
 *
 * The machine is an ELF core of 3 GiB of noise without a zero page, in memory (tmpfs), as a dead kernel's memory is. The device
 * is a loop device with direct I/O over memory, limited for both by the block controller of the cgroups: to 1 GB/s as a fast disk,
 * to 100 MB/s as a slow one; a last row without limit, from memory to memory, has no budget. dd and diskdump take turns; each one's
 * own statement of its time counts, which for both is without the start of the process and with the final flush; ours
 * includes finding, checking and labelling the device. Medians. The first row is void where dd itself does not reach
 * 800 MB/s in each round. Budget: 0.8 of dd.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { loadavg } from 'node:os';
import { basename, join } from 'node:path';
import { buildElf } from '../test/support/elf-builder.ts';
import { ROOT } from '../tools/build.ts';
import { median, runMeasured } from './measure.ts';

const BYTES = Number(process.argv[2] ?? 3) * 2 ** 30;
const ROUNDS = 5;
const FAST_MIN = 800e6;
const FAST_LIMIT = 1000e6;
const SLOW_LIMIT = 100e6;
const BUDGET = 0.8;
const MEMORY = '/dev/shm';
const BLKIO = '/sys/fs/cgroup/blkio';
const CLI = join(ROOT, 'dist/cli/main.mjs');
const CAPTURE_FLAGS = ['--v8-pool-size=0', '--max-semi-space-size=1', '--max-old-space-size=24'];

const scratch = mkdtempSync(join(MEMORY, 'diskdump-bench-'));
let loop = '';
process.on('exit', () => {
  if (loop) execFileSync('losetup', ['--detach', loop]);
  rmSync(scratch, { recursive: true, force: true });
});

const machine = makeMachine(join(scratch, 'vmcore'));
loop = makeDevice(join(scratch, 'device'));
console.log(
  `machine of ${(BYTES / 2 ** 30).toFixed(2)} GiB without zero pages, device ${loop}, ${ROUNDS} rounds, load ${loadavg()[0]?.toFixed(1)}`,
);
let failed = false;
for (const { name, limit, rounds, floor } of [
  { name: 'disk of 1 GB/s  ', limit: FAST_LIMIT, rounds: ROUNDS, floor: FAST_MIN },
  { name: 'disk of 100 MB/s', limit: SLOW_LIMIT, rounds: 1, floor: 0 },
]) {
  const limited = limitTo(limit);
  if (!limited) {
    console.log(`${name}   void: no block controller of the first cgroup version here`);
    continue;
  }
  const rates = await measure(rounds, limited.prefix);
  limited.remove();
  const slowest = Math.min(...rates.dd);
  report(
    name,
    rates,
    slowest < floor ? `void: dd reached ${mb(slowest)} MB/s at worst, ${mb(floor)} are needed` : undefined,
  );
}
report('no disk, memory ', await measure(ROUNDS, []), 'no budget');
process.exitCode = failed ? 1 : 0;

interface Rates {
  /** Bytes a second. */
  readonly dd: number[];
  readonly ours: number[];
  ddPeak: number;
  ourPeak: number;
}

/** @param prefix a command before either. */
async function measure(rounds: number, prefix: readonly string[]): Promise<Rates> {
  const rates: Rates = { dd: [], ours: [], ddPeak: 0, ourPeak: 0 };
  const dd = ['dd', `if=${machine}`, `of=${loop}`, 'bs=4M', 'iflag=direct', 'oflag=direct', 'conv=fsync'];
  const ours = [process.execPath, ...CAPTURE_FLAGS, CLI, 'capture', '--json', `vmcore:${machine}`, '--to', loop];
  for (let round = 0; round < rounds; round++) {
    const copied = /(\d+) bytes .* copied, ([\d.e-]+) s/.exec(run([...prefix, ...dd]).stderr) ?? [];
    rates.dd.push(Number(copied[1]) / Number(copied[2]));
    format();
    const result = JSON.parse(run([...prefix, ...ours]).stdout);
    if (result.state !== 'complete') throw new Error(`the capture ended ${result.state}`);
    rates.ours.push((result.pages * 4096) / result.seconds);
  }
  format();
  rates.ourPeak = (await runMeasured([...prefix, ...ours], {})).peakRssBytes;
  rates.ddPeak = (await runMeasured([...prefix, ...dd], {})).peakRssBytes;
  return rates;
}

function format(): void {
  run([process.execPath, CLI, 'format', '--force', '--for-ram', '1G', loop]);
}

/** @param remark why the row has no verdict. */
function report(name: string, { dd, ours, ddPeak, ourPeak }: Rates, remark: string | undefined): void {
  const ratio = median(ours) / median(dd);
  const inBudget = ratio >= BUDGET ? 'within the budget' : `below the budget of ${BUDGET}`;
  if (remark === undefined && ratio < BUDGET) failed = true;
  const peaks = `peak RSS ${mib(ddPeak)} and ${mib(ourPeak)} MiB`;
  const rates = `dd ${spread(dd)}, diskdump ${spread(ours)}`;
  console.log(`${name}   ${rates}, ratio ${ratio.toFixed(2)}, ${peaks}: ${remark ?? inBudget}`);
}

function spread(rates: readonly number[]): string {
  return `${mb(median(rates))} MB/s (${mb(Math.min(...rates))} to ${mb(Math.max(...rates))})`;
}

function mb(rate: number): string {
  return (rate / 1e6).toFixed(0);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

/** Noise, the same 64 MiB turned by a page for each repetition, behind an ELF header. */
function makeMachine(path: string): string {
  const noise = randomFillSync(Buffer.alloc(64 * 2 ** 20));
  const head = buildElf({
    segments: [{ paddr: 0x100000n, vaddr: 0xffff888000100000n, data: new Uint8Array(0), memorySize: BYTES }],
  });
  // The builder wrote the size of what it was given: p_filesz of the second program header is ours to set.
  new DataView(head.buffer, head.byteOffset).setBigUint64(64 + 56 + 32, BigInt(BYTES), true);
  const fd = openSync(path, 'w');
  const dataAt = Number(new DataView(head.buffer, head.byteOffset).getBigUint64(64 + 56 + 8, true));
  writeSync(fd, head, 0, head.length, 0);
  for (let done = 0; done < BYTES; done += noise.length) {
    const turn = ((done / noise.length) * 4096) % noise.length;
    writeSync(fd, noise.subarray(turn), 0, noise.length - turn, dataAt + done);
    writeSync(fd, noise, 0, turn, dataAt + done + noise.length - turn);
  }
  closeSync(fd);
  return path;
}

/** A loop device with direct I/O over memory that is there already: no allocation is measured. */
function makeDevice(path: string): string {
  const size = BYTES + BYTES / 8 + 2 ** 28;
  const block = new Uint8Array(2 ** 20);
  const fd = openSync(path, 'w');
  for (let at = 0; at < size; at += block.length) writeSync(fd, block);
  closeSync(fd);
  return run(['losetup', '--find', '--show', '--direct-io=on', path]).stdout.trim();
}

interface Limit {
  readonly prefix: readonly string[];
  remove(): void;
}

/** Limits writes to the device for processes that are started with the prefix. */
function limitTo(bytesPerSec: number): Limit | undefined {
  const group = join(BLKIO, `diskdump-bench-${process.pid}`);
  if (!existsSync(join(BLKIO, 'blkio.throttle.write_bps_device'))) return undefined;
  mkdirSync(group);
  const number = readFileSync(`/sys/class/block/${basename(loop)}/dev`, 'utf8').trim();
  writeFileSync(join(group, 'blkio.throttle.write_bps_device'), `${number} ${bytesPerSec}`);
  const prefix = ['sh', '-c', `echo $$ > ${group}/cgroup.procs; exec "$@"`, 'sh'];
  return { prefix, remove: () => rmdirSync(group) };
}

function run(argv: readonly string[]): { stdout: string; stderr: string } {
  const child = spawnSync(argv[0] as string, argv.slice(1), { encoding: 'utf8' });
  if (child.status !== 0) throw new Error(`${argv.join(' ')}: ${child.status ?? child.signal} ${child.stderr}`);
  return child;
}
