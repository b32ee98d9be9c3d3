import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelBuilder } from '../../test/support/kernel-builder.ts';
import { NoDataError } from '../base/errors.ts';
import { type ByteSource, bytesSource } from '../base/source.ts';
import { openKcore } from './kcore.ts';
import { findLogRings, isRingUnchanged, readLogFromSegments, type SavedSegment } from './log-rings.ts';
import { logText } from './log-text.ts';
import { Kernel } from './open.ts';
import { readLog } from './printk.ts';

const RECORDS = Array.from({ length: 40 }, (_, i) => ({ text: `line ${i}`, tsNs: BigInt(i) }));

function saveRings(kernel: Kernel): SavedSegment[] {
  return findLogRings(kernel.memory, kernel.printkLayout).map(({ vaddr, paddr, length }) => {
    const bytes = new Uint8Array(length);
    kernel.physical.readPhysical(bytes, paddr);
    return { vaddr, bytes };
  });
}

test('the ranges hold the log: it reads out of them alone', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring(RECORDS);
  const kernel = new Kernel(builder.facts());
  const ranges = findLogRings(kernel.memory, kernel.printkLayout);
  assert.deepEqual(
    ranges.map(({ part, vaddr, length }) => [part, vaddr, length]),
    [
      ['prb', ring.prb, 8],
      ['ring', ring.ring, 88],
      ['descs', ring.descs, 32 * 24],
      ['infos', ring.infos, 32 * 88],
      ['data', ring.data, 1024],
    ],
  );
  const { records, end } = readLogFromSegments(builder.vmcoreinfo(), saveRings(kernel));
  assert.deepEqual(records, readLog(kernel.memory, kernel.printkLayout).records);
  assert.equal(end.unreadable, 0);
  assert.equal(isRingUnchanged(kernel.memory, kernel.printkLayout, ranges), true);
});

test('a lost segment costs its records; without the head there is no log', () => {
  const builder = new KernelBuilder();
  builder.ring(RECORDS);
  const segments = saveRings(new Kernel(builder.facts()));
  const data = segments.at(-1) as SavedSegment;
  const half = { vaddr: data.vaddr, bytes: data.bytes.subarray(0, 512) };
  const { records, end } = readLogFromSegments(builder.vmcoreinfo(), [...segments.slice(0, -1), half]);
  assert.ok(records.length > 0 && end.unreadable > 0);
  assert.match(end.problems[0] as string, /not saved/);
  assert.throws(() => readLogFromSegments(builder.vmcoreinfo(), segments.slice(1)), NoDataError);
});

/** /proc/kcore as 6.x makes it: RAM with physical addresses, vmalloc and a text segment that no number reaches without. */
function buildKcore(builder: KernelBuilder): ByteSource {
  const pfns = [...builder.pages().keys()].sort((a, b) => a - b);
  const notes = Buffer.concat([noteHead(builder.vmcoreinfo().length), builder.vmcoreinfo(), Buffer.alloc(4)]);
  const segments = [
    { type: 4, offset: 0x2000n, vaddr: 0n, paddr: 0n, size: BigInt(notes.length) },
    {
      type: 1,
      offset: 1n << 60n,
      vaddr: 0xffffffff81000000n,
      paddr: BigInt(builder.imagePaddr(0x1000000)),
      size: 0x800000n,
    },
    { type: 1, offset: 0x100000n, vaddr: 0xffffc90000000000n, paddr: 0xffffffffffffffffn, size: 1n << 45n },
    ...pfns.map((pfn) => ({
      type: 1,
      offset: BigInt(0x10000 + pfn * 4096),
      vaddr: 0xffff888000000000n + BigInt(pfn * 4096),
      paddr: BigInt(pfn * 4096),
      size: 4096n,
    })),
  ];
  const head = Buffer.alloc(64 + 56 * segments.length);
  head.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  head.writeUInt16LE(4, 16);
  head.writeUInt16LE(62, 18);
  head.writeBigUInt64LE(64n, 32);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(segments.length, 56);
  segments.forEach(({ type, offset, vaddr, paddr, size }, i) => {
    const at = 64 + 56 * i;
    head.writeUInt32LE(type, at);
    [offset, vaddr, paddr, size, size].forEach((value, field) => {
      head.writeBigUInt64LE(value, at + 8 + 8 * field);
    });
  });
  return {
    name: 'kcore',
    size: 2 ** 50,
    readInto(target, offset) {
      if (offset < 0x2000) return bytesSource(head).readInto(target, offset);
      if (offset < 0x10000) return bytesSource(notes).readInto(target, offset - 0x2000);
      const page = builder.pages().get(Math.floor((offset - 0x10000) / 4096)) as Uint8Array;
      return bytesSource(page).readInto(target, (offset - 0x10000) % 4096);
    },
  };
}

function noteHead(length: number): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(11, 0);
  head.writeUInt32LE(length, 4);
  head.write('VMCOREINFO\0', 12, 'latin1');
  return head;
}

test('the running kernel: /proc/kcore gives its log by physical address', () => {
  const builder = new KernelBuilder();
  builder.ring(RECORDS);
  const kernel = new Kernel(openKcore(buildKcore(builder)));
  assert.equal(kernel.arch, 'x86_64');
  const { records } = readLog(kernel.memory, kernel.printkLayout);
  assert.deepEqual(records.map(logText), RECORDS.map(({ text }) => text).slice(-records.length));
  assert.deepEqual(saveRings(kernel), saveRings(new Kernel(builder.facts())));
  assert.throws(() => kernel.physical.readPhysical(new Uint8Array(1), 2 ** 40), NoDataError);
});

test('what is no kcore is refused by name', () => {
  assert.throws(() => openKcore(bytesSource(new Uint8Array(64))), /no ELF64 core/);
});
