import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildNote, buildPage, buildPrstatus, concat, readPlainKdump } from '../../../test/support/kdump-builder.ts';
import { crc32 } from '../../base/crc32.ts';
import { AssertionError } from '../../base/errors.ts';
import { randomBelow, seededRandom } from '../../base/random.ts';
import { MemorySink } from '../../base/sink.ts';
import { bytesSource } from '../../base/source.ts';
import { nodeCodecs } from '../../host/codecs.ts';
import { EMPTY_UTSNAME } from '../utsname.ts';
import { openKdump } from './reader.ts';
import { type KdumpPlan, KdumpWriter, planKdumpSize } from './writer.ts';

const INFO = new TextEncoder().encode('OSRELEASE=6.12\nPAGESIZE=4096\n');
const NOTES = concat([buildPrstatus(1, 2n), buildNote('VMCOREINFO', 0, INFO)]);

const PLAN: KdumpPlan = {
  utsname: { ...EMPTY_UTSNAME, sysname: 'Linux', release: '6.12', machine: 'x86_64' },
  timestampSeconds: 1_800_000_000,
  pageSize: 4096,
  maxMapnr: 1_200_000,
  present: [
    { start: 1, end: 3000 },
    { start: 524_280, end: 524_300 },
    { start: 1_199_999, end: 1_200_000 },
  ],
  storedMax: 6000,
  dumpLevel: 1,
  physBase: -0x200000,
  cpuCount: 1,
  notes: NOTES,
  vmcoreinfo: { offset: NOTES.length - Math.ceil(INFO.length / 4) * 4, length: INFO.length },
  codec: 1,
};

/** Pfns of the plan, each with what it holds: zeros, raw, zlib or zstd. */
function fillDump(writer: KdumpWriter, plan: KdumpPlan): Map<number, Uint8Array> {
  const codecs = nodeCodecs();
  const target = new Uint8Array(plan.pageSize);
  const written = new Map<number, Uint8Array>();
  const random = seededRandom(5);
  for (const range of plan.present) {
    for (let pfn = range.start; pfn < range.end; pfn++) {
      const kind = randomBelow(random, 5);
      if (kind === 4) continue; // struck on the way: a hole
      const page = kind === 0 ? new Uint8Array(plan.pageSize) : buildPage(pfn, plan.pageSize);
      const checksum = crc32(page);
      const flags = [0, 0, 0x01, 0x20][kind] as number;
      const length = kind === 0 ? 0 : kind === 1 ? plan.pageSize : (codecs.get(flags)?.compress(page, target) ?? 0);
      if (kind === 1) target.set(page);
      writer.appendPage(pfn, kind === 3 ? { flags, length } : { flags, length, checksum }, target);
      written.set(pfn, page);
    }
  }
  return written;
}

for (const pageSize of [4096, 65536]) {
  test(`what was written is what a plain reader and ours find, pages of ${pageSize}`, () => {
    const sink = new MemorySink();
    const writer = new KdumpWriter(sink);
    const plan = {
      ...PLAN,
      pageSize,
      maxMapnr: pageSize === 4096 ? PLAN.maxMapnr : 1_199_999,
      present: presentFor(pageSize),
    };
    writer.start(plan);
    const written = fillDump(writer, plan);
    const summary = writer.finish({ incomplete: true });
    const bytes = sink.bytes();
    assert.equal(summary.size, bytes.length);
    assert.equal(summary.stored, written.size);

    const plain = readPlainKdump(bytes);
    assert.equal(plain.status, 0x08 | 0x01);
    assert.deepEqual(plain.timestamp, [1_800_000_000, 0]);
    assert.deepEqual(plain.notes, NOTES);
    assert.equal(plain.vmcoreinfo, 'OSRELEASE=6.12\nPAGESIZE=4096\n');
    assert.deepEqual(plain.pages, written);
    assert.equal(
      plain.present.size,
      [...plan.present].reduce((sum, range) => sum + range.end - range.start, 0),
    );
    assert.equal(plain.shared, summary.zero - 1, 'zero pages share one');
    for (const [pfn, [low, high]] of plain.proofs) {
      if (low !== 0 || high !== 0) assert.deepEqual([low, high], [crc32(written.get(pfn) as Uint8Array), pfn]);
    }

    const vmcore = openKdump(bytesSource(bytes), { codecs: nodeCodecs() });
    assert.equal(vmcore.state, 'partial');
    assert.equal(vmcore.header.physBase, -0x200000);
    const counts = vmcore.countPages();
    assert.deepEqual([counts.stored, counts.zero], [written.size, summary.zero]);
    const page = new Uint8Array(pageSize);
    for (const [pfn, expected] of written) {
      vmcore.readPage(pfn, page);
      assert.ok(Buffer.compare(page, expected) === 0, `page ${pfn}`);
    }
  });
}

function presentFor(pageSize: number): KdumpPlan['present'] {
  return pageSize === 4096 ? PLAN.present : [{ start: 0, end: 90 }];
}

test('a dump without a page, or without notes, is a dump', () => {
  for (const change of [{ storedMax: 0 }, { notes: new Uint8Array(0), vmcoreinfo: undefined }]) {
    const sink = new MemorySink();
    const writer = new KdumpWriter(sink);
    writer.start({ ...PLAN, ...change });
    writer.finish({ incomplete: false });
    const vmcore = openKdump(bytesSource(sink.bytes()), { codecs: nodeCodecs() });
    assert.equal(vmcore.state, 'complete');
    assert.equal(vmcore.countPages().present, 3020);
    assert.equal(vmcore.notes.length, 'notes' in change ? 0 : 2);
  }
});

test('before finish there is no signature', () => {
  const sink = new MemorySink();
  const writer = new KdumpWriter(sink);
  writer.start(PLAN);
  fillDump(writer, PLAN);
  assert.ok(
    sink
      .bytes()
      .subarray(0, 4096)
      .every((byte) => byte === 0),
  );
});

test('the size is known before', () => {
  const sink = new MemorySink();
  const writer = new KdumpWriter(sink);
  const plan = { ...PLAN, storedMax: 2 };
  writer.start(plan);
  writer.appendPage(1, { flags: 0, length: 4096 }, buildPage(1));
  writer.appendPage(2, { flags: 0, length: 4096 }, buildPage(2));
  assert.equal(writer.finish({ incomplete: false }).size, planKdumpSize(plan, 2 * 4096));
});

test('a page out of order, too many or too long is a bug of the caller', () => {
  const page = buildPage(1);
  const raw = { flags: 0, length: 4096 };
  const start = (storedMax: number): KdumpWriter => {
    const writer = new KdumpWriter(new MemorySink());
    writer.start({ ...PLAN, storedMax });
    writer.appendPage(5, raw, page);
    return writer;
  };
  assert.throws(() => start(9).appendPage(5, raw, page), AssertionError);
  assert.throws(() => start(9).appendPage(4, raw, page), AssertionError);
  assert.throws(() => start(9).appendPage(1_200_000, raw, page), AssertionError);
  assert.throws(() => start(1).appendPage(6, raw, page), AssertionError);
  assert.throws(() => start(9).appendPage(6, { flags: 0, length: 100 }, page), AssertionError);
  assert.throws(() => start(9).appendPage(6, { flags: 1, length: 4097 }, page), AssertionError);
});
