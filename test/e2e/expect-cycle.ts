/** What every cycle must show, whatever it is about. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type CycleReport, compareSpare, findCaptureDoubts } from '../../src/lab/cycle.ts';
import { checkMemory, formatMemoryCheck, memoryAgrees, parseIomem } from '../../src/lab/memory-check.ts';
import { openDump } from '../../src/lab/open-dump.ts';

/** `arm`'s forecast of spare memory may be this far from what PID 1 measures, in bytes. */
const FORECAST_TOLERANCE = 8 * 2 ** 20;

/** Path of the one saved vmcore. */
export function savedVmcore(report: CycleReport): string {
  assert.equal(
    report.saved.length,
    1,
    `one folder below /var/crash, found ${report.saved.length}: ${saveAnswer(report)}`,
  );
  return join(report.saved[0] as string, 'vmcore');
}

/** Stage 1 ran in the kernel that kexec started. */
export function assertCaptured(report: CycleReport): void {
  assert.deepEqual(findCaptureDoubts(report), []);
}

/** The dump holds every page of the guest's memory as the host saw it, and no other. */
export function assertMemoryEqual(report: CycleReport): void {
  const vmcore = openDump(savedVmcore(report));
  assert.equal(vmcore.state, 'complete', vmcore.partialReason ?? '');
  const check = checkMemory(vmcore, report.ramCopy, parseIomem(report.iomem));
  assert.ok(check.expected > 80_000, `${check.expected} pages are few for this guest`);
  assert.ok(memoryAgrees(check), formatMemoryCheck(check));
}

/** The forecast was right. */
export function assertForecast(report: CycleReport): void {
  const { forecast, measured } = compareSpare(report);
  assert.ok(
    Math.abs(forecast - measured) <= FORECAST_TOLERANCE,
    `${forecast} bytes were forecast to be spare, ${measured} were`,
  );
}

/** Nobody wrote to the disk that is not ours. */
export function assertDecoyUntouched(report: CycleReport): void {
  assert.ok(report.decoy);
  assert.equal(report.decoy.after, report.decoy.before);
}

/** What `save` said, for messages. */
export function saveAnswer(report: CycleReport): string {
  return `${report.answers['save.ndjson'] ?? ''}${report.answers['save.err'] ?? ''}`.trim();
}
