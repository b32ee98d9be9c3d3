/** A power cut at every write of a capture: nothing, or an honest dump, true page by page, in our reader and through block 0. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../src/base/random.ts';
import { RECORD, RECORD_KIND } from '../../src/format/kdump/log-layout.ts';
import { surveyImage } from './rig.ts';
import { simSeeds } from './seeds.ts';
import { CutWalker, type SimDisk } from './sim-disk.ts';
import type { SimMachine } from './sim-machine.ts';
import { simRun } from './sim-run.ts';

for (const { seed, holes } of simSeeds()) {
  test(`power cut at every write, seed ${seed}${holes ? '' : ', every page readable'}`, () => {
    const { machine, image, disk, truth } = simRun(seed, holes);
    checkRecords(disk, machine);
    const random = seededRandom(seed);
    const seen = new Set<string>();
    const walker = new CutWalker(image, disk.journal);
    for (; !walker.done; walker.step()) {
      const survey = surveyImage(walker.powerCut(random), truth);
      seen.add(`${survey.state} ${survey.block0}`);
    }
    assert.ok(seen.has('partial new'), 'no cut left a dump behind block 0');
    assert.ok(seen.has('partial none'), 'no cut left records without a generation');
    assert.equal(seen.has('complete new'), !holes);
  });
}

/** Every run meets every kind of record and of page. */
function checkRecords(disk: SimDisk, machine: SimMachine): void {
  const counts = new Map<number, number>();
  for (const operation of disk.journal) {
    if (operation.kind !== 'write' || String.fromCharCode(...operation.bytes.subarray(0, 8)) !== 'DDRECORD') continue;
    const kind = new DataView(operation.bytes.buffer, operation.bytes.byteOffset).getUint16(RECORD.kind, true);
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  assert.equal(counts.get(RECORD_KIND.start), 1);
  assert.ok((counts.get(RECORD_KIND.index) ?? 0) >= 4, 'fewer than 4 index records');
  assert.ok((counts.get(RECORD_KIND.generation) ?? 0) >= 4, 'no generation inside a pass');
  const kinds = new Set(
    machine.ranges.flatMap(({ start, end }) =>
      Array.from({ length: end - start }, (_, i) => machine.kindOf(start + i)),
    ),
  );
  for (const kind of ['zero', 'compressible', 'random'] as const) assert.ok(kinds.has(kind), `no ${kind} page`);
}
