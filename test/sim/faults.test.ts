/**
 * Disks that fail under a capture: at every call, at every block, once or for good, full, read-only, gone, hanging. The next
 * device goes on, what the failed one holds is true, and every error that surfaces was injected.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatUuid } from '../../src/base/hex.ts';
import type { CaptureResult } from '../../src/capture/capture.ts';
import { readLabel } from '../../src/format/kdump/label.ts';
import { formattedDisk, SMALL, simCapture, simUuid, surveyImage, type Truth } from './rig.ts';
import { asked } from './seeds.ts';
import { badSector, failCall, SimDisk, type SimFault } from './sim-disk.ts';
import { type SimMachine, simMachine } from './sim-machine.ts';

const SIZE = 20 * 65536;
/** Largest device that is tried for one that is full. */
const FULL_SIZE_MAX = 4 * 2 ** 20;
const CALLS_MAX = 2000;
const SEED = asked([3])[0] as number;
const machine = simMachine(SEED, 120);
const truth: Truth = { machine, stale: simMachine(SEED + 5000), dumpUuid: formatUuid(simUuid(1000 + SEED)) };
const blank = formattedDisk(SIZE).contents;
const SECOND = { start: 0, serial: 'SIM0002' };
const blank2 = formattedDisk(SIZE, { uuid: 2, location: SECOND }).contents;

/** One capture over a faulty disk and a sound one. */
function captureWith(
  fault: SimFault,
  onto: SimMachine = machine,
): { first: SimDisk; second: SimDisk; result: CaptureResult } {
  const first = new SimDisk({ name: 'first', image: blank, fault });
  const second = new SimDisk({ name: 'second', image: blank2, location: SECOND });
  return { first, second, result: simCapture(onto, [first, second], { seed: SEED }) };
}

/** Whatever happened, one device has the dump, and both tell the truth. */
function checkOutcome({ first, second, result }: ReturnType<typeof captureWith>, what: string): void {
  assert.equal(result.outcome, 'partial', `${what}: ${JSON.stringify(result.refused)}`);
  for (const refusal of result.refused) assert.match(refusal.code, /^DEVICE_/, what);
  const taken = result.device === 'first' ? first : second;
  const survey = surveyImage(taken.contents, truth);
  assert.deepEqual([survey.state, survey.block0, survey.pages], ['partial', 'new', result.pages], what);
  if (taken === second)
    assert.ok(
      result.refused.some(({ device }) => device === 'first'),
      what,
    );
  surveyImage(first.contents, truth);
}

for (const errno of ['EIO', 'ENODEV', 'ETIMEDOUT', 'EROFS']) {
  for (const mode of ['once', 'onward'] as const) {
    test(`${errno} at call n, ${mode}, for every n; the next device goes on`, () => {
      let untouched = false;
      for (let n = 1; n <= CALLS_MAX && !untouched; n++) {
        const run = captureWith(failCall(n, mode, errno));
        checkOutcome(run, `call ${n}`);
        untouched = run.first.calls < n;
      }
      assert.ok(untouched, `still failing after ${CALLS_MAX} calls`);
    });
  }
}

test('a bad block n, for every n', () => {
  for (let offset = 0; offset < SIZE; offset += 4096)
    checkOutcome(captureWith(badSector(offset)), `block at ${offset}`);
});

test('a bad block n that fails once, for every n', () => {
  for (let offset = 0; offset < SIZE; offset += 4096)
    checkOutcome(captureWith(badSector(offset + 1024, 1)), `block at ${offset}`);
});

test('the only device fails: what there is stays true, and the result says so', () => {
  for (let n = 1; n <= CALLS_MAX; n++) {
    const disk = new SimDisk({ image: blank, fault: failCall(n, 'onward', 'ENODEV') });
    const result = simCapture(machine, [disk], { seed: SEED });
    surveyImage(disk.contents, truth);
    if (disk.calls < n) return assert.equal(result.outcome, 'partial');
    // One copy of the label is enough to close the dump.
    if (result.outcome === 'partial')
      assert.equal(readLabel(new SimDisk({ image: disk.contents })).label?.state.state, 'ended');
    else assert.match(`${result.outcome} ${result.refused.length}`, /^(failed|no-device) 1$/, `call ${n}`);
  }
  assert.fail('still failing');
});

test('a device that is full in mid-dump: pass 0 whole, an honest partial', () => {
  let full = 0;
  const large = simMachine(SEED, 500);
  for (let size = 11 * 65536; size <= FULL_SIZE_MAX; size += 65536) {
    const disk = formattedDisk(size);
    const result = simCapture(large, [disk], { seed: SEED, parameters: { ...SMALL, generationShare: 0 } });
    assert.equal(result.outcome, 'partial');
    const survey = surveyImage(disk.contents, { ...truth, machine: large });
    assert.deepEqual([survey.state, survey.block0, survey.pages], ['partial', 'new', result.pages], `${size} bytes`);
    if (result.reason === 'the device is full') full++;
  }
  assert.ok(full >= 8, `${full} devices were full`);
});

test('a capture that is told to stop closes what it has', () => {
  for (let chunks = 1; ; chunks++) {
    const disk = new SimDisk({ image: blank });
    let served = 0;
    const supervisor = {
      clock: { monotonicMs: () => 0, wallMs: () => 0 },
      progress: () => {},
      cancelled: () => (++served >= chunks ? 'the time is over' : undefined),
    };
    const result = simCapture(machine, [disk], { seed: SEED, supervisor });
    assert.equal(result.outcome, 'partial');
    if (result.reason !== 'the time is over') return assert.ok(chunks > 10);
    const { pages, state } = surveyImage(disk.contents, { ...truth, stopped: true });
    assert.deepEqual([state, pages], ['partial', result.pages], `stopped after chunk ${chunks}`);
  }
});
