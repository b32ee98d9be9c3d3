import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelBuilder } from '../../test/support/kernel-builder.ts';
import { type SavedSegment, saveRings, segmentMemory } from '../../test/support/kernel-segments.ts';
import { NoDataError } from '../base/errors.ts';
import { findLogRings } from './log-rings.ts';
import { Kernel } from './open.ts';
import { readLog } from './printk.ts';

const RECORDS = Array.from({ length: 40 }, (_, i) => ({ text: `line ${i}`, tsNs: BigInt(i) }));

test('the ranges hold the log: it reads out of them alone', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring(RECORDS);
  const kernel = new Kernel(builder.facts());
  assert.deepEqual(
    findLogRings(kernel.memory, kernel.printkLayout).map(({ part, vaddr, length }) => [part, vaddr, length]),
    [
      ['prb', ring.prb, 8],
      ['ring', ring.ring, 88],
      ['descs', ring.descs, 32 * 24],
      ['infos', ring.infos, 32 * 88],
      ['data', ring.data, 1024],
    ],
  );
  const saved = readLog(segmentMemory(saveRings(kernel)), kernel.printkLayout);
  assert.deepEqual(saved, readLog(kernel.memory, kernel.printkLayout));
});

test('a lost segment costs its records; without the head there is no log', () => {
  const builder = new KernelBuilder();
  builder.ring(RECORDS);
  const kernel = new Kernel(builder.facts());
  const segments = saveRings(kernel);
  const data = segments.at(-1) as SavedSegment;
  const half = { vaddr: data.vaddr, bytes: data.bytes.subarray(0, 512) };
  const { records, end } = readLog(segmentMemory([...segments.slice(0, -1), half]), kernel.printkLayout);
  assert.ok(records.length > 0 && end.unreadable > 0);
  assert.match(end.problems[0] as string, /not saved/);
  assert.throws(() => readLog(segmentMemory(segments.slice(1)), kernel.printkLayout), NoDataError);
});

test('a ring whose memory is not contiguous comes in as many ranges', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring(RECORDS, { countBits: 8 });
  const kernel = new Kernel(builder.facts());
  const scattered = {
    readVirtual: (target: Uint8Array, vaddr: bigint): void => kernel.memory.readVirtual(target, vaddr),
    translate: (vaddr: bigint) => ({ paddr: Number(vaddr % 2n ** 32n) * 2, length: 4096 - Number(vaddr % 4096n) }),
  };
  const infos = findLogRings(scattered, kernel.printkLayout).filter(({ part }) => part === 'infos');
  assert.equal(infos.length, Math.ceil((Number(ring.infos % 4096n) + 256 * 88) / 4096));
  assert.equal(
    infos.reduce((sum, { length }) => sum + length, 0),
    256 * 88,
  );
});
