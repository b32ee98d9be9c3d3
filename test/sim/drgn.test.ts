/**
 * What drgn makes of devices whose capture lost power: it does not open them, or every page that it gives is right, and once
 * block 0 is rewritten the first pass is whole. Every cut of one seed, and a hundred elsewhere.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { randomBelow, seededRandom } from '../../src/base/random.ts';
import { surveyImage, type Truth } from './rig.ts';
import { asked } from './seeds.ts';
import { CutWalker } from './sim-disk.ts';
import { PAGE, type SimMachine } from './sim-machine.ts';
import { simRun } from './sim-run.ts';

const ALL_CUTS_SEED = asked([1])[0] as number;
const SAMPLED = 100;
/** Seeds from which cuts are sampled: a run each. */
const SAMPLED_SEEDS = 20;

test('drgn opens what block 0 leads to, and every page is right', () => {
  const directory = mkdtempSync(`${tmpdir()}/diskdump-drgn-`);
  try {
    const images = new ImageSet(directory);
    writeCuts(images, ALL_CUTS_SEED, () => true);
    for (let i = 0; i < SAMPLED_SEEDS; i++) {
      const random = seededRandom(i + 400);
      writeCuts(images, ALL_CUTS_SEED + 2 + i, (cuts) => randomBelow(random, cuts) < SAMPLED / SAMPLED_SEEDS);
    }
    const script = new URL('./drgn-images.py', import.meta.url).pathname;
    const counts = JSON.parse(runDrgn(script, images.manifest)) as { opened: number; refused: number; pages: number };
    assert.equal(counts.opened, images.open);
    assert.ok(counts.opened > 50 && counts.refused > 2 && counts.pages > 1000, JSON.stringify(counts));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

function runDrgn(script: string, manifest: string): string {
  try {
    return execFileSync('/usr/bin/python3', [script, manifest], { encoding: 'utf8' });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    return assert.fail(`drgn: ${stdout}${stderr}`);
  }
}

/** Writes the images of those cuts of a run that `wanted` picks. */
function writeCuts(images: ImageSet, seed: number, wanted: (cuts: number) => boolean): void {
  const { image, disk, truth } = simRun(seed, true);
  const random = seededRandom(seed + 9);
  for (const walker = new CutWalker(image, disk.journal); !walker.done; walker.step()) {
    if (wanted(disk.journal.length)) images.add(`${seed}-${walker.at}`, walker.powerCut(random), truth);
  }
}

/** Images on disk, with the truth they are to be compared with. */
class ImageSet {
  readonly manifest: string;
  /** Images that drgn must open. */
  open = 0;
  readonly #directory: string;
  readonly #truths = new Map<SimMachine, string>();

  constructor(directory: string) {
    this.#directory = directory;
    this.manifest = `${directory}/manifest`;
  }

  add(name: string, bytes: Uint8Array, truth: Truth): void {
    const { block0 } = surveyImage(bytes, truth);
    const image = `${this.#directory}/${name}.img`;
    writeFileSync(image, bytes);
    if (block0 !== 'none') this.open++;
    const machine = block0 === 'stale' ? truth.stale : truth.machine;
    const entry = {
      image,
      expect: block0,
      truth: this.#truthFile(machine),
      first: block0 === 'new' ? first(machine) : [],
    };
    appendFileSync(this.manifest, `${JSON.stringify(entry)}\n`);
  }

  #truthFile(machine: SimMachine): string {
    const known = this.#truths.get(machine);
    if (known !== undefined) return known;
    const path = `${this.#directory}/${this.#truths.size}.truth`;
    const records = readablePfns(machine).map((pfn) => {
      const record = Buffer.alloc(8 + PAGE);
      record.writeBigUInt64LE(BigInt(pfn));
      record.set(machine.truth(pfn), 8);
      return record;
    });
    writeFileSync(path, Buffer.concat(records));
    this.#truths.set(machine, path);
    return path;
  }
}

function readablePfns(machine: SimMachine): number[] {
  return machine.ranges
    .flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i))
    .filter((pfn) => machine.kindOf(pfn) !== 'unreadable');
}

function first(machine: SimMachine): number[] {
  return readablePfns(machine).filter((pfn) => machine.essential.some(({ start, end }) => pfn >= start && pfn < end));
}
