/** Whole cycles on real kernels: panic, capture kernel, dump, reboot, save; every page compared with the guest's RAM. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { countRanges } from '../../src/base/ranges.ts';
import { type CycleReport, removeCycle, runCycle } from '../../src/lab/cycle.ts';
import type { KernelWish } from '../../src/lab/kernels.ts';
import { type Materials, prepareMaterials } from '../../src/lab/materials.ts';
import { parseIomem } from '../../src/lab/memory-check.ts';
import { openDump } from '../../src/lab/open-dump.ts';
import { ensurePrograms, LAB_PROGRAMS, MODULE_PROGRAMS, TEST_PROGRAMS } from '../../src/lab/programs.ts';
import { DEFAULT_MACHINE, type Scenario } from '../../src/lab/scenario.ts';
import { askDrgn, askMakedumpfileLog, refilter } from '../../src/lab/second-opinion.ts';
import {
  assertCaptured,
  assertDecoyUntouched,
  assertForecast,
  assertMemoryEqual,
  savedVmcore,
} from './expect-cycle.ts';

const CLOUD_61: KernelWish = { series: '6.1', flavour: 'cloud' };
const CLOUD_612: KernelWish = { series: '6.12', flavour: 'cloud' };
const GENERIC_61: KernelWish = { series: '6.1', flavour: 'generic' };

/** Pages that drgn is asked for. */
const SAMPLE_PAGES = 3000;

before(() => ensurePrograms({ ...LAB_PROGRAMS, ...MODULE_PROGRAMS, ...TEST_PROGRAMS }, console.error));

interface Case {
  readonly name: string;
  readonly kernel: KernelWish;
  readonly change: Pick<Scenario, 'label' | 'crash'> & Partial<Scenario>;
  readonly more?: (report: CycleReport) => void;
}

const CASES: readonly Case[] = [
  {
    name: '6.1 cloud, sysrq; other tools open the vmcore and the device',
    kernel: CLOUD_61,
    change: { label: '61-sysrq', crash: 'sysrq', sparseMemory: false },
    more: assertOthersOpen,
  },
  {
    name: '6.1 cloud, NULL dereference in a hard interrupt',
    kernel: CLOUD_61,
    change: { label: '61-irq', crash: 'hardirq' },
  },
  {
    name: '6.12 cloud, sysrq; the first device went to somebody else after arming',
    kernel: CLOUD_612,
    change: { label: '612-sysrq', crash: 'sysrq', formatted: ['decoy', 'dump'], lost: ['decoy'] },
  },
  {
    name: '6.12 cloud, NULL dereference in a hard interrupt; other tools open the vmcore and the device',
    kernel: CLOUD_612,
    change: { label: '612-irq', crash: 'hardirq', sparseMemory: false },
    more: assertOthersOpen,
  },
  { name: '6.1 generic, sysrq', kernel: GENERIC_61, change: { label: 'generic', crash: 'sysrq' } },
  {
    name: '6.1 cloud on a CPU without SSE4.1',
    kernel: CLOUD_61,
    change: { label: 'qemu64', crash: 'sysrq', cpuModel: 'qemu64' },
  },
];

for (const { name, kernel, change, more } of CASES) {
  test(name, async () => {
    const materials = prepare(kernel);
    const scenario: Scenario = { ...DEFAULT_MACHINE, kernel: materials.kernel, ...change };
    const report = await runCycle(scenario, materials);
    assertCaptured(report);
    assertMemoryEqual(report);
    assertForecast(report);
    assertDecoyUntouched(report);
    assertLogTells(report);
    more?.(report);
    removeCycle(report);
  });
}

function prepare(kernel: KernelWish): Materials {
  return prepareMaterials(kernel, { withCrashModule: true, say: console.error });
}

/** What the log of each crash must have. An oops in an interrupt starts the capture kernel before panic() says so. */
const LOG_TELLS = {
  sysrq: /Kernel panic - not syncing: sysrq triggered crash/,
  hardirq: /BUG: kernel NULL pointer dereference[\s\S]*RIP: \S+lab_crash_store/,
} as const;

/** `vmcore-dmesg.txt` tells of the crash that the console showed. */
function assertLogTells(report: CycleReport): void {
  const log = readFileSync(join(report.saved[0] as string, 'vmcore-dmesg.txt'), 'utf8');
  assert.match(log, LOG_TELLS[report.scenario.crash]);
}

/** drgn and makedumpfile read the saved vmcore, and the device as it was after the capture and before savecore. */
function assertOthersOpen(report: CycleReport): void {
  const vmcore = savedVmcore(report);
  const device = report.deviceCopies.dump as string;
  const pfns = samplePfns(report);
  for (const dump of [vmcore, device]) {
    const opinion = askDrgn(dump, report.ramCopy, pfns);
    assert.equal(opinion.release, report.scenario.kernel.release);
    assert.deepEqual(opinion.wrong, [], `drgn on ${dump}`);
    assert.match(askMakedumpfileLog(dump, dump), LOG_TELLS[report.scenario.crash]);
  }
  const refiltered = openDump(refilter(vmcore, vmcore));
  const counts = refiltered.countPages();
  assert.ok(counts.stored > 5000, `${counts.stored} pages left after makedumpfile -d 31`);
  assertPagesOfRam(refiltered, report.ramCopy);
}

function samplePfns(report: CycleReport): number[] {
  const { systemRam, crashKernel } = parseIomem(report.iomem);
  const ranges = systemRam
    .filter(({ start }) => start >= 2 ** 20)
    .map(({ start, end }) => ({ start: Math.ceil(start / 4096), end: Math.floor(end / 4096) }));
  const step = Math.floor(countRanges(ranges) / SAMPLE_PAGES);
  const reserved = (pfn: number) => crashKernel.some(({ start, end }) => pfn * 4096 >= start && pfn * 4096 < end);
  const pfns: number[] = [];
  for (const { start, end } of ranges) for (let pfn = start; pfn < end; pfn += step) if (!reserved(pfn)) pfns.push(pfn);
  return pfns;
}

function assertPagesOfRam(dump: ReturnType<typeof openDump>, ramPath: string): void {
  const ram = readFileSync(ramPath);
  const page = new Uint8Array(4096);
  for (const run of dump.walkPages()) {
    if (run.presence !== 'stored') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      dump.readPage(pfn, page);
      assert.ok(
        ram.subarray(pfn * 4096, pfn * 4096 + 4096).equals(page),
        `page ${pfn.toString(16)} after makedumpfile`,
      );
    }
  }
}
