/**
 * A power cut at every step of a save, on the device and in the directory alike: the dump is on the device as it was, or in
 * a whole directory; the next save finishes the work, and one after that finds nothing to do.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/base/clock.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import { readExactly } from '../../src/base/source.ts';
import { readLabel } from '../../src/format/kdump/label.ts';
import { openKdump } from '../../src/format/kdump/reader.ts';
import { nodeCrc32 } from '../../src/host/codecs.ts';
import { findSavedDirectory } from '../../src/savecore/directory.ts';
import { type SaveOutcome, save } from '../../src/savecore/save.ts';
import { MemoryStore, PowerCut } from '../support/memory-store.ts';
import { CODECS, type Survey, simUuid, surveyImage, type Truth } from './rig.ts';
import { asked, simSeeds } from './seeds.ts';
import { CutWalker, SimDisk } from './sim-disk.ts';
import { PAGE } from './sim-machine.ts';
import { simRun } from './sim-run.ts';

const STEPS_MAX = 5000;
/** Cuts of one save that are tried where not all are. */
const SAMPLED = 4;
const THOROUGH_SEED = asked([2])[0];

for (const { seed, holes } of simSeeds()) {
  const thorough = seed === THOROUGH_SEED;
  test(`power cut at ${thorough ? 'every step, twice' : `${SAMPLED} steps`} of a save, seed ${seed}`, () => {
    const random = seededRandom(seed + 31);
    const { disk, image, truth } = simRun(seed, holes);
    const captured = thorough || seed % 3 > 0 ? disk.contents : cutCapture(image, disk, truth, random);
    const before = surveyImage(captured, truth);
    const steps = countSteps(captured, seed);
    const cuts = thorough
      ? Array.from({ length: steps }, (_, i) => i + 1)
      : Array.from({ length: SAMPLED }, () => 1 + randomBelow(random, steps));
    for (const cut of cuts) {
      const store = new MemoryStore(seed * STEPS_MAX + cut);
      let survivors = saveAndCut(captured, store, cut, random);
      judge(survivors, store, before, truth, `cut at ${cut}`);
      if (thorough) {
        survivors = saveAndCut(survivors, store, 1 + randomBelow(random, steps), random);
        judge(survivors, store, before, truth, `cut at ${cut} and again`);
      }
      finish(survivors, store, before, truth, `cut at ${cut}`);
    }
  });
}

/** A capture that lost power somewhere and left at least some pages. */
function cutCapture(image: Uint8Array, disk: SimDisk, truth: Truth, random: Random): Uint8Array {
  for (;;) {
    const walker = new CutWalker(image, disk.journal);
    const at = randomBelow(random, disk.journal.length);
    while (walker.at < at) walker.step();
    const survivors = walker.powerCut(random);
    if (surveyImage(survivors, truth).state !== 'none') return survivors;
  }
}

function runSave(disk: SimDisk, store: MemoryStore): SaveOutcome {
  return save([{ device: disk }], {
    store,
    codecs: CODECS,
    clock: new ManualClock(),
    crc: nodeCrc32,
    bootId: simUuid(99),
    wipe: 'none',
    writtenBy: 'sim',
  });
}

function countSteps(image: Uint8Array, seed: number): number {
  let steps = 0;
  const count = (): void => {
    steps++;
  };
  const disk = new SimDisk({ image });
  const store = new MemoryStore(seed);
  disk.onStep = store.onStep = count;
  runSave(disk, store);
  assert.ok(steps < STEPS_MAX);
  return steps;
}

/** Saves until step `cut`, then the power is gone on both sides. @returns what is left of the device. */
function saveAndCut(image: Uint8Array, store: MemoryStore, cut: number, random: Random): Uint8Array {
  let steps = 0;
  const disk = new SimDisk({ image });
  disk.onStep = store.onStep = () => {
    if (++steps === cut) throw new PowerCut(`step ${cut}`);
  };
  try {
    runSave(disk, store);
  } catch (error) {
    if (!(error instanceof PowerCut)) throw error;
  }
  store.onStep = undefined;
  store.powerCut();
  return new CutWalker(image, disk.journal).toEnd().powerCut(random);
}

/** The dump is somewhere, whole. */
function judge(image: Uint8Array, store: MemoryStore, before: Survey, truth: Truth, what: string): void {
  const saved = findSavedDirectory(store, truth.dumpUuid, [1]);
  if (saved !== undefined) {
    assert.ok(savedPages(store, saved, truth) >= before.pages, `${what}: pages are lost`);
    return;
  }
  const now = surveyImage(image, truth);
  assert.deepEqual([now.state, now.pages], [before.state, before.pages], `${what}: neither saved nor as it was`);
}

/** The next save ends the work; the one after that has none. */
function finish(image: Uint8Array, store: MemoryStore, before: Survey, truth: Truth, what: string): void {
  const disk = new SimDisk({ image });
  const outcome = runSave(disk, store);
  assert.deepEqual(outcome.problems, [], what);
  const whole = store.list('').filter((name) => !name.startsWith('incomplete-'));
  assert.equal(whole.length, 1, `${what}: ${whole.length} directories`);
  assert.ok(savedPages(store, whole[0] as string, truth) >= before.pages, what);
  assert.equal(readLabel(disk, nodeCrc32).label?.state.state, 'ready', what);
  const again = runSave(disk, store);
  assert.deepEqual([again.records.length, again.problems.length], [0, 0], `${what}: twice is not harmless`);
}

/** Pages of a saved vmcore; fails on one that is not true. */
function savedPages(store: MemoryStore, directory: string, { machine }: Truth): number {
  const file = store.open(`${directory}/vmcore`);
  const bytes = readExactly(file, 0, file.size);
  const vmcore = openKdump({ name: directory, size: bytes.length, readInto: file.readInto }, { codecs: CODECS });
  const page = new Uint8Array(PAGE);
  let pages = 0;
  for (const { start, end } of machine.ranges) {
    for (let pfn = start; pfn < end; pfn++) {
      const presence = vmcore.presence(pfn);
      if (presence !== 'stored' && presence !== 'zero') continue;
      vmcore.readPage(pfn, page);
      assert.equal(Buffer.compare(page, machine.truth(pfn)), 0, `pfn ${pfn} of the vmcore is wrong`);
      pages++;
    }
  }
  return pages;
}
