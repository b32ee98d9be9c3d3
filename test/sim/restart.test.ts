/**
 * Stage 1 killed at every write, started again in the same boot, and killed again: the second process goes on where the
 * first one stood, and whatever dies in it leaves an honest dump.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../../src/base/crc32.ts';
import { randomBelow, seededRandom } from '../../src/base/random.ts';
import { readLabel } from '../../src/format/kdump/label.ts';
import { GEOMETRY, INDEX_ENTRY, RECORD, RECORD_KIND } from '../../src/format/kdump/log-layout.ts';
import { simCapture, surveyImage } from './rig.ts';
import { asked } from './seeds.ts';
import { CutWalker, SimDisk, type SimOperation } from './sim-disk.ts';
import { simRun } from './sim-run.ts';

/** Second kills tried for each first one. */
const SECOND_KILLS = 6;

for (const [seed, holes] of asked([1, 101]).map((seed) => [seed, seed < 100] as const)) {
  test(`killed at every write, restarted and killed again, seed ${seed}`, () => {
    const { machine, image, disk, truth } = simRun(seed, holes);
    const whole = surveyImage(disk.contents, truth).pages;
    const random = seededRandom(seed + 77);
    let resumed = 0;
    for (const walker = new CutWalker(image, disk.journal); !walker.done; walker.step()) {
      const killed = walker.processKill(random);
      const before = surveyImage(killed, truth);
      const second = new SimDisk({ image: killed });
      const result = simCapture(machine, [second], { seed });
      if (before.state === 'complete' || finished(disk.journal, walker.at)) continue;
      assert.equal(result.outcome, holes ? 'partial' : 'complete', `killed at ${walker.at}: ${JSON.stringify(result)}`);
      if (result.resumed) resumed++;
      const after = surveyImage(second.contents, truth);
      assert.equal(after.pages, whole, `killed at ${walker.at}: pages are missing after the restart`);
      assert.equal(after.state, holes ? 'partial' : 'complete');
      killAgain(killed, second.journal, truth, random);
    }
    assert.ok(resumed > disk.journal.length / 2, `only ${resumed} restarts went on with the log`);
  });
}

/** True once the label says that the dump is over: from then on the device is refused. */
function finished(journal: readonly SimOperation[], at: number): boolean {
  const labelWrites = journal.flatMap(({ kind }, i) => (kind === 'write' ? [i] : [])).slice(-2);
  return at >= (labelWrites[0] as number);
}

function killAgain(
  image: Uint8Array,
  journal: readonly SimOperation[],
  truth: Parameters<typeof surveyImage>[1],
  random: ReturnType<typeof seededRandom>,
): void {
  const points = new Set(Array.from({ length: SECOND_KILLS }, () => randomBelow(random, journal.length + 1)));
  for (const walker = new CutWalker(image, journal); !walker.done; walker.step()) {
    if (!points.has(walker.at)) continue;
    surveyImage(walker.powerCut(random), truth);
    surveyImage(walker.processKill(random), truth);
  }
}

test('an index record that reads back out of its order ends the run there, and nothing behind the log is touched', () => {
  const { image, disk, machine } = simRun(101, false);
  const walker = new CutWalker(image, disk.journal);
  while (walker.at < disk.journal.length * 0.6) walker.step();
  const killed = walker.processKill(seededRandom(5));
  const view = new DataView(killed.buffer, killed.byteOffset);
  const at = findIndexRecord(view);
  // Entry 4 names a pfn 2^32 pages too high; the checksums fit.
  view.setUint32(at + RECORD.size + 4 * INDEX_ENTRY.size + 4, 1, true);
  const listEnd = at + RECORD.size + Number(view.getBigUint64(at + RECORD.listLength, true));
  view.setUint32(at + RECORD.listChecksum, crc32(killed.subarray(at + RECORD.size, listEnd)), true);
  view.setUint32(at + RECORD.headerChecksum, crc32(killed.subarray(at, at + RECORD.headerChecksum)), true);
  const second = new SimDisk({ image: killed });
  const result = simCapture(machine, [second], { seed: 101 });
  assert.equal(result.outcome, 'failed');
  assert.equal(result.refused[0]?.code, 'DEVICE_READBACK');
  const reading = readLabel(second, crc32);
  assert.deepEqual([reading.label?.state.state, reading.problems], ['inUse', []]);
});

function findIndexRecord(view: DataView): number {
  for (let at: number = GEOMETRY.logStart; at < view.byteLength; at += GEOMETRY.recordAlignMin) {
    const magic = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, 8));
    if (magic === 'DDRECORD' && view.getUint16(at + RECORD.kind, true) === RECORD_KIND.index) return at;
  }
  throw new Error('no index record in the image');
}
