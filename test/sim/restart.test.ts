/**
 * Stage 1 killed at every write, started again in the same boot, and killed again: the second process goes on where the
 * first one stood, and whatever dies in it leaves an honest dump.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomBelow, seededRandom } from '../../src/base/random.ts';
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
