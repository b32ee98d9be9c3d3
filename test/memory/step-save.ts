/** Saves the dump on the comparing device, and proves the vmcore that came out against the machine. */

import { bytesSource } from '../../src/base/source.ts';
import { openKdump } from '../../src/format/kdump/reader.ts';
import { systemClock } from '../../src/host/clock.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { save } from '../../src/savecore/save.ts';
import { BIG_RANGES, fillPage, PAGE } from './big-machine.ts';
import { ComparingDevice } from './comparing-device.ts';
import { PackedStore } from './packed-store.ts';
import type { Step } from './run.ts';

export const step: Step = (directory, size) => {
  const device = new ComparingDevice(directory, size);
  const store = new PackedStore(`${directory}/packed`);
  const { records, problems } = save([{ device }], {
    store,
    codecs: nodeCodecs(),
    clock: systemClock,
    crc: nodeCrc32,
    bootId: new Uint8Array(16).fill(9),
    wipe: 'none',
    writtenBy: 'memory test',
  });
  const record = records[0];
  if (!record) return { problems: problems.map(({ error }) => error.message) };
  const path = Object.keys(store.sizes()).find((name) => name.endsWith('/vmcore'));
  const vmcore = openKdump(path ? store.open(path) : bytesSource(new Uint8Array(0)), { codecs: nodeCodecs() });
  return { state: record.state, pages: record.pages, proved: countTrue(vmcore) };
};

/** Pages of the vmcore that are what the machine has there; throws at the first that is not. */
function countTrue(vmcore: { readPage(pfn: number, target: Uint8Array): void }): number {
  const truth = new Uint32Array(PAGE / 4);
  const page = Buffer.alloc(PAGE);
  const expected = Buffer.from(truth.buffer);
  let pages = 0;
  for (const { start, end } of BIG_RANGES) {
    for (let pfn = start; pfn < end; pfn++, pages++) {
      vmcore.readPage(pfn, page);
      fillPage(truth, 0, pfn);
      if (page.compare(expected) !== 0) throw new Error(`pfn ${pfn} of the saved vmcore is wrong`);
    }
  }
  return pages;
}
