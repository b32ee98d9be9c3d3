/** One whole capture over a device that holds a stale dump: the run that the simulations cut to pieces. */

import assert from 'node:assert/strict';
import { formatUuid } from '../../src/base/hex.ts';
import { simCapture, simUuid, staleDisk, type Truth } from './rig.ts';
import { SimDisk } from './sim-disk.ts';
import { type SimMachine, simMachine } from './sim-machine.ts';

/** Bytes of the device. */
const SIZE = 24 * 65536;

/** A run over a device with a stale dump that nobody wiped: the finished disk, and what was on it before. */
export function simRun(
  seed: number,
  holes: boolean,
): { machine: SimMachine; image: Uint8Array; disk: SimDisk; truth: Truth } {
  const machine = simMachine(seed, 200, holes);
  const stale = simMachine(seed + 5000, 200);
  const { contents: image } = staleDisk(stale, SIZE, seed % 2 === 0);
  const disk = new SimDisk({ image });
  const result = simCapture(machine, [disk], { seed });
  assert.equal(result.outcome, holes ? 'partial' : 'complete', `${result.reason}`);
  assert.notEqual(result.reason, 'the device is full');
  return { machine, image, disk, truth: { machine, stale, dumpUuid: formatUuid(simUuid(1000 + seed)) } };
}
