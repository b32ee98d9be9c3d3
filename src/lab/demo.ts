/** The demo: a real kernel panics in QEMU, and everything that follows is told line by line until its dump lies open. */

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Io } from '../cli/output.ts';
import { escapeControls } from '../cli/output.ts';
import { formatBytes } from './bytes.ts';
import { parseMemoryLeft, type TimelineEvent } from './console.ts';
import { type CycleReport, compareSpare, findCaptureDoubts, removeCycle, runCycle } from './cycle.ts';
import { findKernels, type KernelWish, parseKernelPackage } from './kernels.ts';
import { type Materials, prepareMaterials } from './materials.ts';
import { checkMemory, formatMemoryCheck, memoryAgrees, parseIomem } from './memory-check.ts';
import { Narration, span } from './narration.ts';
import { openDump } from './open-dump.ts';
import { sweepScratch } from './paths.ts';
import { ensurePrograms, LAB_PROGRAMS, MODULE_PROGRAMS, refreshPackageLists } from './programs.ts';
import { type CrashKind, DEFAULT_MACHINE, type Scenario } from './scenario.ts';

/** What the operator chose. */
export interface DemoOptions {
  /** Release or series of the kernel; the newest that the distribution offers for virtual machines otherwise. */
  readonly kernel: string | undefined;
  readonly crash: CrashKind;
  /** Keep the guest's folder: disks, console, RAM, dump. */
  readonly keep: boolean;
  /** File that gets the narration as JSON, for the picture in the README. */
  readonly record: string | undefined;
}

/** How the run ended: 0, or 1 when the cycle did not agree with what was seen from outside. */
export type DemoOutcome = 0 | 1;

/** Lines of the log that are shown, from the first that tells of the crash. */
const LOG_LINES = 12;
const CRASH_LINE = /BUG:|Oops|Kernel panic|sysrq: Trigger/;
const PAGE_BYTES = 4096;
/** What ends a run from outside. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** Lines shown of a panic that left no dump. */
const PANIC_LINES = 2;
const CRASH_WORDS: Readonly<Record<CrashKind, string>> = {
  sysrq: 'echo c > /proc/sysrq-trigger',
  hardirq: 'a NULL dereference in a hard interrupt',
};

/** Runs the demo. Throws what stopped it before there was anything to compare. */
export async function runDemo(io: Io, options: DemoOptions): Promise<DemoOutcome> {
  const narration = new Narration(io.terminal);
  const interrupted = (signal: NodeJS.Signals): void => {
    narration.end();
    io.note('interrupted: the guest is gone, and its folder with it');
    sweepScratch();
    process.kill(process.pid, signal);
  };
  for (const signal of SIGNALS) process.once(signal, interrupted);
  try {
    const materials = prepare(narration, options);
    const scenario: Scenario = {
      ...DEFAULT_MACHINE,
      label: 'demo',
      kernel: materials.kernel,
      crash: options.crash,
      thorough: false,
    };
    narration.working(
      'boot',
      `${scenario.memoryMiB} MiB, ${scenario.cpus} CPUs, crashkernel=${scenario.crashkernel}, QEMU without KVM`,
    );
    const teller = createTeller(narration, scenario);
    const report = await runCycle(scenario, materials, { onEvent: (event) => teller(event) });
    const agreed = tellComparison(narration, report);
    if (report.saved.length > 0) tellDump(narration, report, materials);
    tellEnd(narration, report, options, agreed);
    return agreed ? 0 : 1;
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupted);
    narration.end();
    if (options.record !== undefined) writeFileSync(options.record, JSON.stringify(narration.recorded));
  }
}

function prepare(narration: Narration, options: DemoOptions): Materials {
  const say = (line: string) => narration.working('prepare', line);
  const needsModule = options.crash === 'hardirq';
  narration.working('prepare', 'looking for QEMU, squashfs-tools, kexec-tools, busybox');
  ensurePrograms(needsModule ? { ...LAB_PROGRAMS, ...MODULE_PROGRAMS } : LAB_PROGRAMS, say);
  say('runtime image: Node and stage 1');
  const materials = prepareMaterials(chooseKernel(options.kernel), { withCrashModule: needsModule, say });
  narration.step('done', 'kernel', `Linux ${materials.kernel.release}`, 'the distribution’s own');
  narration.step(
    'done',
    'runtime',
    `Node ${process.version} and stage 1, ${formatBytes(materials.runtimeImage.bytes)}`,
    'squashfs',
  );
  return materials;
}

/** A release, a series, or the newest kernel for virtual machines; generic where the distribution has none of those. */
function chooseKernel(asked: string | undefined): KernelWish {
  if (findKernels().length === 0) refreshPackageLists();
  if (asked === undefined)
    return findKernels({ flavour: 'cloud' }).length > 0 ? { flavour: 'cloud' } : { flavour: 'generic' };
  const release = parseKernelPackage(`linux-image-${asked}`);
  if (release) return { release: release.release };
  const flavour = findKernels({ series: asked, flavour: 'cloud' }).length > 0 ? 'cloud' : 'generic';
  return { series: asked, flavour };
}

/** Tells the events of the console as they come. */
function createTeller(narration: Narration, scenario: Scenario): (event: TimelineEvent) => void {
  let panicMs = 0;
  let verifiedMs = 0;
  let captureMs = 0;
  return (event) => {
    switch (event.kind) {
      case 'guest-up':
        narration.step('done', 'boot', 'the guest is up');
        return narration.working('format', 'a dump device, and a disk that is not ours beside it');
      case 'formatted': {
        const { sizeBytes, sampleRate } = parseAnswer(event.text);
        narration.step(
          'done',
          'format',
          `dump device of ${formatBytes(sizeBytes)} labelled`,
          `${2 ** Number(sampleRate)} signatures`,
        );
        return narration.working('arm', 'capture kernel, initramfs, kexec');
      }
      case 'armed': {
        const { spareBytes } = parseAnswer(event.text);
        narration.step(
          'done',
          'arm',
          `capture kernel loaded in ${scenario.crashkernel}`,
          `${formatBytes(spareBytes)} to spare, forecast`,
        );
        return narration.working('crash', CRASH_WORDS[scenario.crash]);
      }
      case 'panic':
        if (panicMs !== 0) return;
        panicMs = event.atMs;
        narration.step('panic', 'panic', escapeControls(event.text));
        return narration.working('capture', 'kexec jumps into the capture kernel');
      case 'capture-up':
        captureMs = event.atMs;
        narration.step(
          'done',
          'capture',
          `capture kernel up ${seconds(event.atMs - panicMs)} after the panic`,
          'elfcorehdr on its command line',
        );
        return narration.working('stage 1', 'checking the dump device');
      case 'device-refused':
        return narration.step('done', 'refused', escapeControls(event.text));
      case 'device-verified':
        verifiedMs = event.atMs;
        narration.step('done', 'verified', escapeControls(event.text));
        return narration.working('stage 1', 'writing the dump');
      case 'progress':
        return narration.working('stage 1', escapeControls(event.text));
      case 'written':
        return narration.step('done', 'written', escapeControls(event.text), formatRate(event, verifiedMs));
      case 'stage1-ended':
        narration.step(
          /complete/.test(event.text) ? 'done' : 'failed',
          'stage 1',
          escapeControls(event.text),
          `${seconds(event.atMs - captureMs)} after the capture kernel’s start`,
        );
        return;
      case 'memory-left': {
        const left = parseMemoryLeft(event.text);
        if (left)
          narration.step(
            'done',
            'memory',
            `${formatBytes(left.atEnd)} were available at the end`,
            `lowest ${formatBytes(left.lowest)}`,
          );
        return narration.working('reboot', 'comparing from outside, then firmware and kernel once more');
      }
      case 'second-boot':
        narration.step('turn', 'reboot', 'the machine is up again', `${seconds(event.atMs - panicMs)} after the panic`);
        return narration.working('save', 'diskdump save: verifying every record');
      case 'saved':
        return tellSaved(narration, event.text);
      default:
        return;
    }
  };
}

/** Memory a second, from the moment the device was verified. */
function formatRate(written: TimelineEvent, verifiedMs: number): string {
  const pages = Number(/: (\d+) pages/.exec(written.text)?.[1]);
  return `${formatBytes((pages * PAGE_BYTES) / ((written.atMs - verifiedMs) / 1000))}/s of memory`;
}

function tellSaved(narration: Narration, text: string): void {
  const { dir, pages, state, seconds: took } = parseAnswer(text);
  if (dir === undefined) {
    narration.step('failed', 'saved', 'nothing: no device held a dump');
    return;
  }
  narration.step(
    state === 'complete' ? 'done' : 'failed',
    'saved',
    `${dir}/vmcore`,
    `${state}, ${pages} pages, ${Number(took).toFixed(1)} s`,
  );
  narration.working('compare', 'every page with the memory that the host saw');
}

/** Both directions of the page comparison, the proof of the capture kernel, the decoy, the forecast. */
function tellComparison(narration: Narration, report: CycleReport): boolean {
  const verdicts: boolean[] = [];
  const verdict = (good: boolean, name: string, text: string, detail = '') => {
    verdicts.push(good);
    narration.step(good ? 'done' : 'failed', name, text, detail);
  };
  const doubts = findCaptureDoubts(report);
  if (doubts.length > 0) verdict(false, 'doubt', doubts.join('; '));
  const directory = report.saved.at(-1);
  if (directory === undefined) {
    const [why = ''] = (report.answers['save.err'] ?? '').split('\n');
    verdict(false, 'compare', `there is no dump to compare: ${escapeControls(why)}`);
    for (const line of lastPanic(report)) narration.line([span(`           ${escapeControls(line)}`, 'red')]);
    return false;
  }
  const check = checkMemory(openDump(join(directory, 'vmcore')), report.ramCopy, parseIomem(report.iomem));
  verdict(memoryAgrees(check), 'equal', formatMemoryCheck(check), 'with the guest’s RAM, read from outside');
  if (report.decoy)
    verdict(
      report.decoy.before === report.decoy.after,
      'decoy',
      'the disk that was not ours is untouched',
      `SHA-256 ${report.decoy.after.slice(0, 12)}…`,
    );
  const { forecast, measured } = compareSpare(report);
  verdict(
    Math.abs(forecast - measured) < 8e6,
    'forecast',
    `${formatBytes(forecast)} forecast, ${formatBytes(measured)} measured`,
  );
  return verdicts.every((good) => good);
}

/** The last panic on the console: where no dump came out, it is the capture kernel's own, or the first one that kexec left alone. */
function lastPanic(report: CycleReport): string[] {
  const lines = readFileSync(join(report.directory, 'console.log'), 'latin1').split(/\r?\n/);
  const at = lines.findLastIndex((line) => /Kernel panic/.test(line));
  return at < 0 ? [] : lines.slice(at, at + PANIC_LINES);
}

/** What `info` and `log` print about the dump. */
function tellDump(narration: Narration, report: CycleReport, materials: Materials): void {
  const folder = report.saved.at(-1) as string;
  const ask = (verb: string): string[] => {
    const main = join(materials.cli, 'main.mjs');
    const env = { ...process.env, NO_COLOR: '1' };
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, verb, 'vmcore'], {
      cwd: folder,
      encoding: 'utf8',
      env,
    });
    return (status === 0 ? stdout : stderr).trimEnd().split('\n');
  };
  narration.line();
  narration.line([span('$ ', 'dim'), span('diskdump info vmcore', 'bold')]);
  for (const line of ask('info')) narration.line([span(escapeControls(line))]);
  narration.line();
  narration.line([span('$ ', 'dim'), span('diskdump log vmcore', 'bold')]);
  const log = ask('log');
  const first = Math.max(
    0,
    Math.min(
      log.findIndex((line) => CRASH_LINE.test(line)),
      log.length - LOG_LINES,
    ),
  );
  if (first > 0) narration.line([span(`… ${first} lines`, 'dim')]);
  for (const line of log.slice(first, first + LOG_LINES))
    narration.line([span(escapeControls(line), CRASH_LINE.test(line) ? 'red' : 'plain')]);
  const rest = log.length - first - LOG_LINES;
  if (rest > 0) narration.line([span(`… ${rest} lines`, 'dim')]);
}

function tellEnd(narration: Narration, report: CycleReport, options: DemoOptions, agreed: boolean): void {
  narration.line();
  narration.line([
    agreed
      ? span('From panic to an open dump, and every page of it proved.', 'green')
      : span('The cycle ran, but something does not agree; see above.', 'red'),
    span(`  ${(narration.elapsedMs / 1000).toFixed(0)} s in all`, 'dim'),
  ]);
  if (options.keep || !agreed)
    narration.line([span(`kept in memory until it is deleted: ${report.directory}, with console.log`, 'dim')]);
  else removeCycle(report);
}

/** The JSON that a guest's script put behind its word on the console; fields that are not there are `undefined`. */
function parseAnswer(text: string): Record<string, string | number | undefined> {
  try {
    return JSON.parse(text.slice(text.indexOf('{'))) as Record<string, string | number>;
  } catch {
    return {};
  }
}

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`;
