/** Faults in the capture kernel: each time a restart, the next device or the log area, and a reboot at the end. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import type { TimelineKind } from '../../src/lab/console.ts';
import { type CycleOptions, type CycleReport, removeCycle, runCycle } from '../../src/lab/cycle.ts';
import {
  badSectorDisk,
  killedScript,
  outOfMemoryScript,
  StoppableDisk,
  signalHostScript,
  stoppedScript,
} from '../../src/lab/faults.ts';
import { type Materials, prepareMaterials } from '../../src/lab/materials.ts';
import { createScratch } from '../../src/lab/paths.ts';
import { ensurePrograms, LAB_PROGRAMS, TEST_PROGRAMS } from '../../src/lab/programs.ts';
import { createSparseFile } from '../../src/lab/qemu.ts';
import { DEFAULT_MACHINE, type Scenario } from '../../src/lab/scenario.ts';
import { assertMemoryEqual, saveAnswer } from './expect-cycle.ts';

let materials: Materials;

before(() => {
  ensurePrograms({ ...LAB_PROGRAMS, ...TEST_PROGRAMS }, console.error);
  materials = prepareMaterials({ series: '6.1', flavour: 'cloud' }, { withCrashModule: false, say: console.error });
});

const DISK_BYTES = 2 * 2 ** 30;

describe('stage 1 under faults', { concurrency: 2 }, () => {
  test('killed by a signal in mid-dump: started once more, goes on behind the last good record', async () => {
    const report = await crash({ label: 'killed', fault: { script: killedScript('dump') } });
    assertSeen(report, 'fault');
    assertSeen(report, 'stage1-restarted');
    assertMemoryEqual(report);
    removeCycle(report);
  });

  test('stopped by SIGSTOP: killed after the heartbeat stood still, the log area has the log', async () => {
    const fault = { script: stoppedScript('dump'), config: '[timeouts]\nheartbeat = 30' };
    const report = await crash({ label: 'stopped', fault });
    assertSeen(report, 'fault');
    assert.match(textOf(report, 'stage1-ended'), /no heartbeat of stage 1 for 30 s/);
    assertSeen(report, 'log-area');
    assertPartialOrLog(report);
    removeCycle(report);
  });

  test('out of memory: killed by the kernel, started once more', async () => {
    const report = await crash({ label: 'oom', fault: { script: outOfMemoryScript('dump') } });
    assertSeen(report, 'fault');
    assertSeen(report, 'stage1-restarted');
    assertSaved(report);
    removeCycle(report);
  });

  test('the disk answers EIO in mid-dump: the next device goes on', async () => {
    const folder = createScratch('eio-disk');
    const bad = badSectorDisk(createSparseFile(join(folder, 'bad'), DISK_BYTES), 24 * 2 ** 20);
    const report = await crash(
      { label: 'eio', devices: ['bad', 'dump'], formatted: ['bad', 'dump'] },
      { disks: { bad } },
    );
    assertSecondDevice(report);
    assertSaved(report);
    removeCycle(report);
    rmSync(folder, { recursive: true });
  });

  test('the disk hangs in the kernel: given up after its deadline, the next device goes on, and the reboot comes', async () => {
    const folder = createScratch('hang-disk');
    const disk = await StoppableDisk.start(createSparseFile(join(folder, 'hanging'), DISK_BYTES));
    try {
      const report = await crash(
        {
          label: 'hang',
          devices: ['hanging', 'dump'],
          formatted: ['hanging', 'dump'],
          fault: { script: signalHostScript('hanging'), config: '[timeouts]\ndevice = 15' },
        },
        {
          disks: { hanging: disk.source },
          onLine: (line) => {
            if (line.includes('host, strike now')) disk.stop();
            // QEMU itself stands still when the guest resets the disk's controller with a request in flight.
            if (line.startsWith('diskdump: reboot')) setTimeout(() => disk.resume(), 2000);
          },
        },
      );
      assertSeen(report, 'fault');
      assertSecondDevice(report);
      assertSaved(report);
      removeCycle(report);
    } finally {
      await disk.end();
      rmSync(folder, { recursive: true });
    }
  });
});

function crash(change: Pick<Scenario, 'label'> & Partial<Scenario>, options: CycleOptions = {}): Promise<CycleReport> {
  const machine = { ...DEFAULT_MACHINE, cpus: 1, devices: ['dump'], formatted: ['dump'], crash: 'sysrq' as const };
  return runCycle({ ...machine, kernel: materials.kernel, ...change }, materials, options);
}

function assertSeen(report: CycleReport, kind: TimelineKind): void {
  const seen = report.timeline.map((event) => event.kind);
  assert.ok(seen.includes(kind), `${kind} on the console; seen: ${seen.join(' ')}`);
}

function textOf(report: CycleReport, kind: TimelineKind): string {
  assertSeen(report, kind);
  return report.timeline.findLast((event) => event.kind === kind)?.text ?? '';
}

/** Stage 1 began on the first device and ended on the second, with a whole dump. */
function assertSecondDevice(report: CycleReport): void {
  const verified = report.timeline.filter((event) => event.kind === 'device-verified').map((event) => event.text);
  assert.deepEqual(verified, ['/dev/vda', '/dev/vdb']);
  assert.match(textOf(report, 'stage1-ended'), /complete/);
}

/** At least one folder with a vmcore. */
function assertSaved(report: CycleReport): void {
  const found = report.saved.filter((folder) => existsSync(join(folder, 'vmcore')));
  assert.ok(found.length > 0, `no vmcore was saved: ${saveAnswer(report)}`);
}

/** The log of the crash was kept, by the log area or in a partial dump. */
function assertPartialOrLog(report: CycleReport): void {
  const logs = report.saved.map((folder) => join(folder, 'vmcore-dmesg.txt')).filter(existsSync);
  assert.ok(logs.length > 0, `no log was saved: ${saveAnswer(report)}`);
  for (const log of logs) assert.match(readFileSync(log, 'utf8'), /Kernel panic - not syncing/);
}
