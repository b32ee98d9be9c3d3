import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type BuiltRecord,
  KernelBuilder,
  type RingOptions,
  START_KERNEL_MAP,
} from '../../test/support/kernel-builder.ts';
import { DumpError, FormatError, NoDataError, UnsupportedError } from '../base/errors.ts';
import { logText } from './log-text.ts';
import { Kernel } from './open.ts';
import { type LogEnd, type LogRecord, placeBlock, readLog } from './printk.ts';
import { findPrintkLayout } from './printk-layout.ts';
import { parseVmcoreinfo } from './vmcoreinfo.ts';

function readBuilt(builder: KernelBuilder): { records: LogRecord[]; end: LogEnd } {
  const kernel = new Kernel(builder.facts());
  return readLog(kernel.memory, kernel.printkLayout);
}

function logOf(records: readonly BuiltRecord[], options?: RingOptions): { records: LogRecord[]; end: LogEnd } {
  const builder = new KernelBuilder();
  builder.ring(records, options);
  return readBuilt(builder);
}

const texts = (records: readonly LogRecord[]): string[] => records.map(logText);

test('every field of a record', () => {
  const [record] = logOf([
    {
      text: 'hello',
      tsNs: 1234567890123456789n,
      level: 3,
      facility: 1,
      callerId: 0x80000002,
      flags: 0x0a,
      subsystem: 'pci',
      device: '+pci:0000:00:01.0',
    },
  ]).records;
  assert.deepEqual(record, {
    seq: 0,
    tsNs: 1234567890123456789n,
    level: 3,
    facility: 1,
    caller: { kind: 'cpu', id: 2 },
    text: new Uint8Array(Buffer.from('hello')),
    newline: true,
    continuation: true,
    lost: false,
    subsystem: 'pci',
    device: '+pci:0000:00:01.0',
  });
});

test('committed and finalized records count; reserved, reusable and those of another lap do not', () => {
  const { records, end } = logOf([
    { text: 'a', state: 'committed' },
    { text: 'b', state: 'reserved' },
    { text: 'c' },
    { text: 'd', state: 'reusable' },
    { text: 'e' },
  ]);
  assert.deepEqual(texts(records), ['a', 'c', 'e']);
  assert.deepEqual(end, { records: 3, unreadable: 0, problems: [] });
});

test('records without data: an empty line is one, lost text is said to be lost', () => {
  const { records } = logOf([{ text: '', lpos: [3n, 3n] }, { text: 'x', lpos: [1n, 1n] }, { text: 'y' }]);
  assert.deepEqual(texts(records), ['', '', 'y']);
  assert.deepEqual(
    records.map((record) => record.lost),
    [false, true, false],
  );
});

test('where a block lies: the test vectors of the ring of 128 KiB', () => {
  const size = 0x20000;
  assert.deepEqual(placeBlock(0x1fff0n, 0x20000n, size), { offset: 0x1fff0, length: 0x10 });
  assert.deepEqual(placeBlock(0x1fff0n, 0x20040n, size), { offset: 0, length: 0x40 });
  assert.deepEqual(placeBlock(0x20000n, 0x20010n, size), { offset: 0, length: 0x10 });
  assert.deepEqual(placeBlock(0x1fff0n, 0x40000n, size), { offset: 0, length: 0x20000 });
  assert.equal(placeBlock(0x1fff0n, 0x60000n, size).length, 0, 'two laps');
  assert.equal(placeBlock(0x100n, 0x100n, size).length, 0, 'empty');
  assert.equal(placeBlock(0x200n, 0x100n, size).length, 0, 'backwards');
});

test('a ring that went round any number of times gives the newest records, by the old rule and the new', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 120 }), { minLength: 1, maxLength: 120 }),
      fc.boolean(),
      fc.bigInt({ min: 0n, max: 2n ** 40n }),
      (lines, mayEndAtRingEnd, laps) => {
        const { records, end } = logOf(
          lines.map((text) => ({ text })),
          { mayEndAtRingEnd, firstLpos: laps * 1024n, firstSeq: 1000 },
        );
        assert.equal(end.unreadable, 0);
        assert.ok(records.length > 0);
        assert.deepEqual(texts(records), lines.slice(-records.length));
        assert.equal(records.at(-1)?.seq, 999 + lines.length);
      },
    ),
    { numRuns: 150, seed: 20260101 },
  );
});

test('a lost page costs the records in it, and the reason is told once', () => {
  const builder = new KernelBuilder();
  const many = Array.from({ length: 128 }, (_, i) => ({ text: `line ${i}`.padEnd(40) }));
  const ring = builder.ring(many, { countBits: 7, sizeBits: 13 });
  const paddr = Number(ring.data - START_KERNEL_MAP) + builder.physBase;
  builder.lose(Math.floor(paddr / 4096), 'PAGE_HOLE');
  const { records, end } = readBuilt(builder);
  assert.ok(end.unreadable > 0 && end.records === records.length && records.length > 0);
  assert.equal(end.records + end.unreadable, 128);
  assert.equal(end.problems.length, 1);
  assert.match(end.problems[0] as string, /is not there/);
});

test('without the page of the ring itself there is no log', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring([{ text: 'x' }]);
  builder.lose((Number(ring.prb - START_KERNEL_MAP) + builder.physBase) >>> 12);
  assert.throws(() => readBuilt(builder), NoDataError);
});

test('counts that no kernel has are refused before anything is allocated', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring([{ text: 'x' }]);
  builder.u32(Number(ring.ring - START_KERNEL_MAP) + builder.physBase, 60);
  assert.throws(
    () => readBuilt(builder),
    (error: unknown) => error instanceof FormatError && error.code === 'PRINTK_RING',
  );
});

test('head and tail further apart than the ring: the newest lap is read', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring(Array.from({ length: 20 }, (_, i) => ({ text: `line ${i}` })));
  builder.u64(Number(ring.ring - START_KERNEL_MAP) + builder.physBase + 32, 2n ** 61n);
  const { records, end } = readBuilt(builder);
  assert.equal(records.length, 20);
  assert.match(end.problems[0] as string, /further apart/);
});

test('a text block of another record is not shown as this one', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring([{ text: 'one' }, { text: 'two' }]);
  builder.u64(Number(ring.data - START_KERNEL_MAP) + builder.physBase, 77n);
  const { records, end } = readBuilt(builder);
  assert.deepEqual(texts(records), ['two']);
  assert.match(end.problems[0] as string, /belongs to record 0x4d/);
});

test('kernels with older logs are named', () => {
  for (const [symbol, format] of [
    ['log_first_idx', /variable-length records/],
    ['log_end', /flat buffer/],
  ] as const) {
    const vmcoreinfo = parseVmcoreinfo(Buffer.from(`OSRELEASE=4.19.0\nSYMBOL(log_buf)=1\nSYMBOL(${symbol})=2\n`));
    assert.throws(
      () => findPrintkLayout(vmcoreinfo),
      (error: unknown) => error instanceof UnsupportedError && format.test(error.message),
    );
  }
});

test('members outside their structure are a contradiction', () => {
  const builder = new KernelBuilder();
  builder.ring([{ text: 'x' }]);
  const text = builder.vmcoreinfo().toString();
  for (const [from, to] of [
    ['SIZE(prb_desc)=24', 'SIZE(prb_desc)=16'],
    ['OFFSET(printk_info.dev_info)=24', 'OFFSET(printk_info.dev_info)=80'],
    ['SIZE(printk_ringbuffer)=88', 'SIZE(printk_ringbuffer)=2000000'],
  ] as const) {
    const vmcoreinfo = parseVmcoreinfo(Buffer.from(text.replace(from, to)));
    assert.throws(
      () => findPrintkLayout(vmcoreinfo),
      (error: unknown) => error instanceof FormatError && error.code === 'PRINTK_LAYOUT',
    );
  }
});

test('any damage ends in records or a DumpError', () => {
  const records = Array.from({ length: 60 }, (_, i) => ({ text: `line ${i} ${'x'.repeat(i)}` }));
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 30 }), (damage) => {
      const builder = new KernelBuilder();
      builder.ring(records);
      const pages = [...builder.pages().values()];
      for (const [page, at, byte] of damage) (pages[page % pages.length] as Uint8Array)[at % 4096] = byte;
      try {
        const { end } = readBuilt(builder);
        assert.ok(end.records <= 32);
      } catch (error) {
        assert.ok(error instanceof DumpError);
      }
    }),
    { numRuns: 300, seed: 20260102 },
  );
});
