/** A whole cycle: boot, format, arm, panic, capture, look at the memory from outside, reboot, save, results out. */

import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DumpError } from '../base/errors.ts';
import { parseConsoleLine, parseMemoryLeft, type TimelineEvent, type TimelineKind } from './console.ts';
import { createDataDisk, extractDataDisk } from './guest-image.ts';
import type { Materials } from './materials.ts';
import { createScratch } from './paths.ts';
import { run } from './programs.ts';
import { createSparseFile, Guest, type GuestDisk } from './qemu.ts';
import { planCommandLine, planDataFiles, type Scenario } from './scenario.ts';

/** What a cycle left, all in `directory`; {@link removeCycle} deletes it. */
export interface CycleReport {
  readonly scenario: Scenario;
  readonly directory: string;
  readonly timeline: readonly TimelineEvent[];
  /** The guest's RAM when stage 1 had ended and the capture kernel had asked for the reboot. */
  readonly ramCopy: string;
  /** The dump devices at that moment, by serial number. */
  readonly deviceCopies: Readonly<Record<string, string>>;
  /** SHA-256 of the decoy disk when the machine was armed and at the end; the same unless something wrote to it. */
  readonly decoy: { readonly before: string; readonly after: string } | undefined;
  /** Files that the guest's scripts left: answers of `format`, `arm`, `check`, `save`. */
  readonly answers: Readonly<Record<string, string>>;
  /** Folders below /var/crash of the guest, copied out, newest name last. */
  readonly saved: readonly string[];
  /** `/proc/iomem` of the crashed kernel. */
  readonly iomem: string;
}

/** What the caller may bring besides the scenario. */
export interface CycleOptions {
  /** Sees each event of the timeline as it happens. */
  readonly onEvent?: (event: TimelineEvent) => void;
  /** Sees every console line. */
  readonly onLine?: (text: string) => void;
  /** Disks of the caller's own making in place of plain images, by serial number. */
  readonly disks?: Readonly<Record<string, GuestDisk['source']>>;
}

const BOOT_TIMEOUT_MS = 300_000;
const PANIC_TIMEOUT_MS = 60_000;
const CAPTURE_TIMEOUT_MS = 400_000;
const SAVE_TIMEOUT_MS = 400_000;
const DATA_DISK_BYTES = 3 * 2 ** 30;
const DUMP_DISK_BYTES = 2 * 2 ** 30;
/** A dump device that is lost to somebody else: large enough to be formatted, small enough to be hashed. */
const LOST_DISK_BYTES = 512 * 2 ** 20;
const DECOY_BYTES = 8 * 2 ** 20;

/** Runs a scenario to its end. The guest is stopped whatever happens; the folder stays when it fails. */
export async function runCycle(
  scenario: Scenario,
  materials: Materials,
  options: CycleOptions = {},
): Promise<CycleReport> {
  const directory = createScratch(scenario.label);
  const timeline: TimelineEvent[] = [];
  const disks = createDisks(scenario, materials, directory, options);
  const decoy = join(directory, 'decoy');
  let before: string | undefined;
  const guest = await Guest.start({
    directory,
    vmlinuz: materials.kernel.vmlinuz,
    initrd: materials.initramfs,
    commandLine: planCommandLine(scenario),
    memoryMiB: scenario.memoryMiB,
    cpus: scenario.cpus,
    cpuModel: scenario.cpuModel,
    disks,
    onLine(line) {
      options.onLine?.(line.text);
      const event = parseConsoleLine(line);
      if (event === undefined) return;
      timeline.push(event);
      if (event.kind === 'armed' && existsSync(decoy)) before = hashFile(decoy);
      options.onEvent?.(event);
    },
  });
  try {
    await waitForEvent(guest, timeline, 'armed', BOOT_TIMEOUT_MS);
    await waitForEvent(guest, timeline, 'panic', PANIC_TIMEOUT_MS);
    const { reason } = await guest.waitForReboot(CAPTURE_TIMEOUT_MS);
    if (reason !== 'guest-reset')
      throw new DumpError('LAB_CYCLE', `the capture kernel ended with ${reason}, expected a reboot`);
    const ramCopy = copySparse(guest.ramFile, join(directory, 'ram.copy'));
    const deviceCopies = copyDevices(scenario, directory);
    await guest.letReboot('run');
    await guest.waitForExit(SAVE_TIMEOUT_MS);
    extractDataDisk(join(directory, 'data'), '/', join(directory, 'result'));
    return {
      scenario,
      directory,
      timeline,
      ramCopy,
      deviceCopies,
      decoy: before === undefined ? undefined : { before, after: hashFile(decoy) },
      ...readResult(join(directory, 'result')),
    };
  } finally {
    await guest.end();
  }
}

/** Deletes what a cycle left. */
export function removeCycle(report: CycleReport): void {
  rmSync(report.directory, { recursive: true, force: true });
}

/** The first event of a kind. @throws DumpError `LAB_CYCLE` when the timeline has none. */
export function getEvent(timeline: readonly TimelineEvent[], kind: TimelineKind): TimelineEvent {
  const event = timeline.find((candidate) => candidate.kind === kind);
  if (event) return event;
  const seen = timeline.map((candidate) => candidate.kind).join(' ');
  throw new DumpError('LAB_CYCLE', `looking for ${kind} on the console: not there, seen ${seen}`);
}

/** What `arm` forecast and what PID 1 measured at the end of stage 1, in bytes. */
export function compareSpare(report: CycleReport): { readonly forecast: number; readonly measured: number } {
  const arm = JSON.parse(report.answers['arm.json'] ?? '{}') as { spareBytes?: number };
  const left = parseMemoryLeft(getEvent(report.timeline, 'memory-left').text);
  return { forecast: arm.spareBytes ?? Number.NaN, measured: left?.atEnd ?? Number.NaN };
}

/**
 * That stage 1 ran in the kernel that kexec started, and not somewhere else: after the panic the console shows a kernel
 * command line with `elfcorehdr`, PID 1, stage 1 with /proc/vmcore open, and its result.
 *
 * @returns what is not proved; empty when all is.
 */
export function findCaptureDoubts({ timeline }: CycleReport): string[] {
  const doubts: string[] = [];
  const at = (kind: TimelineKind) => timeline.find((event) => event.kind === kind)?.atMs;
  const panic = at('panic');
  if (panic === undefined) return ['no panic on the console'];
  const after = (kind: TimelineKind, what: string) => {
    const moment = at(kind);
    if (moment === undefined || moment < panic) doubts.push(what);
  };
  after('capture-command-line', 'no kernel command line with elfcorehdr after the panic');
  after('capture-up', 'the capture kernel did not come up after the panic');
  after('vmcore-opened', 'stage 1 did not open /proc/vmcore after the panic');
  after('stage1-ended', 'stage 1 gave no result after the panic');
  return doubts;
}

async function waitForEvent(
  guest: Guest,
  timeline: readonly TimelineEvent[],
  kind: TimelineKind,
  timeoutMs: number,
): Promise<void> {
  await guest.waitFor(kind, timeoutMs, () => (timeline.some((event) => event.kind === kind) ? true : undefined));
}

/** Decoy and dump devices first, in the order of the configuration; then the guest's own. */
function createDisks(scenario: Scenario, materials: Materials, directory: string, options: CycleOptions): GuestDisk[] {
  const own = scenario.devices.map((serial): GuestDisk => {
    const given = options.disks?.[serial];
    if (given) return { serial, source: given };
    const path = join(directory, serial);
    if (scenario.formatted.includes(serial))
      createSparseFile(path, serial === 'decoy' ? LOST_DISK_BYTES : DUMP_DISK_BYTES);
    else createDecoy(path);
    return { serial, source: { path } };
  });
  const data = createDataDisk(join(directory, 'data'), DATA_DISK_BYTES, planDataFiles(scenario));
  return [
    ...own,
    { serial: 'tools', source: { path: materials.toolsDisk, readOnly: true } },
    { serial: 'kernel', source: { path: materials.kernelDisk, readOnly: true } },
    { serial: 'data', source: { path: data } },
  ];
}

/** A disk with somebody's data on it and no label of ours: every block has a text of its own. */
function createDecoy(path: string): void {
  const fd = openSync(path, 'w');
  for (let offset = 0; offset < DECOY_BYTES; offset += 4096) {
    writeSync(fd, Buffer.alloc(4096, `somebody's data, block ${offset / 4096}\n`), 0, 4096, offset);
  }
  closeSync(fd);
}

function copyDevices(scenario: Scenario, directory: string): Record<string, string> {
  const copies: Record<string, string> = {};
  for (const serial of scenario.formatted) {
    const path = join(directory, serial);
    if (existsSync(path)) copies[serial] = copySparse(path, `${path}.copy`);
  }
  return copies;
}

function copySparse(from: string, to: string): string {
  run('cp', ['--sparse=always', from, to]);
  return to;
}

function hashFile(path: string): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(2 ** 20);
  const fd = openSync(path, 'r');
  for (;;) {
    const count = readSync(fd, buffer);
    if (count === 0) break;
    hash.update(buffer.subarray(0, count));
  }
  closeSync(fd);
  return hash.digest('hex');
}

function readResult(folder: string): Pick<CycleReport, 'answers' | 'saved' | 'iomem'> {
  const out = join(folder, 'out');
  const answers = Object.fromEntries(readdirSync(out).map((name) => [name, readFileSync(join(out, name), 'utf8')]));
  const crash = join(folder, 'var/crash');
  const saved = readdirSync(crash)
    .filter((name) => !name.startsWith('.'))
    .sort()
    .map((name) => join(crash, name));
  return { answers, saved, iomem: readFileSync(join(folder, 'iomem-1'), 'utf8') };
}
