import assert from 'node:assert/strict';
import test from 'node:test';
import { crc32 } from '../../base/crc32.ts';
import { DumpError } from '../../base/errors.ts';
import { seededRandom } from '../../base/random.ts';
import { ChunkEntries, IndexEntries, putChunkEntry, putIndexEntry } from './log-entries.ts';
import {
  decodeGenerationLists,
  encodeGenerationHead,
  type GenerationRecord,
  IndexRefs,
  planGeneration,
} from './log-generation.ts';
import { CODEC_ZERO, LOG_LIMITS, RECORD } from './log-layout.ts';
import {
  decodeRecordHeader,
  encodeRecordHeader,
  plainHeader,
  type RecordHeader,
  recordAlignment,
} from './log-records.ts';
import { decodeStartLists, encodeStartRecord, type StartRecord } from './log-start.ts';
import { decodeRunRecord, encodeRunRecord, type RunRecord } from './run-record.ts';

const PLACE = {
  dumpUuid: Uint8Array.from({ length: 16 }, (_, i) => 0xe0 + i),
  part: 2,
  pageSize: 4096,
  alignment: 4096,
  offset: 262144,
  sequence: 1,
};

const START: Omit<StartRecord, 'notesOffset'> = {
  maxMapnr: 0x140000,
  physBase: -0x1000000,
  wallMs: 1_790_000_000_123,
  bootId: new Uint8Array(16).fill(3),
  notes: Uint8Array.from({ length: 5000 }, (_, i) => i),
  vmcoreinfo: { offset: 100, length: 3000 },
  dumpLevel: 1,
  codec: 0x20,
  ranges: [
    { start: 1, end: 0xa0 },
    { start: 0x100, end: 0x140000 },
  ],
  passes: [
    { name: 'essential', planned: 100, stored: 0, holes: 0, indexes: 0, state: 'notBegun' },
    { name: 'rest', planned: 2 ** 40, stored: 0, holes: 0, indexes: 0, state: 'notBegun' },
  ],
  cpuCount: 2,
  machineKind: 1,
  utsname: {
    sysname: 'Linux',
    nodename: 'host',
    release: '6.12.0',
    version: '#1 SMP',
    machine: 'x86_64',
    domainname: '(none)',
  },
  chunkBytes: 2 ** 20,
  chunkEntries: 4096,
  indexInterval: 2 ** 16,
  crashSeconds: 1_790_000_000,
  armedDigest: new Uint8Array(32).fill(9),
  machineName: 'vmcore:/proc/vmcore',
};

test('alignment is the largest of page, 4 KiB and logical block', () => {
  assert.equal(recordAlignment(4096, 512), 4096);
  assert.equal(recordAlignment(65536, 512), 65536);
  assert.equal(recordAlignment(4096, 16384), 16384);
});

test('a start record reads back', () => {
  for (const alignment of [4096, 65536]) {
    const record = encodeStartRecord(START, { ...PLACE, alignment });
    assert.equal(record.length % alignment, 0);
    const header = decodeRecordHeader(record, PLACE.offset) as RecordHeader;
    assert.equal(header.kind, 'start');
    const lists = record.subarray(RECORD.size, RECORD.size + header.listLength);
    assert.equal(crc32(lists), header.listChecksum);
    const start = decodeStartLists(header, lists);
    assert.deepEqual({ ...start, notesOffset: 0 }, { ...START, notesOffset: 0 });
    assert.deepEqual(
      record.subarray(start.notesOffset - PLACE.offset, start.notesOffset - PLACE.offset + 5000),
      START.notes,
    );
  }
});

test('a header is ours only at its own place and whole', () => {
  const record = encodeStartRecord(START, PLACE);
  assert.equal(decodeRecordHeader(record, PLACE.offset + 4096), undefined);
  for (let bit = 0; bit < 128 * 8; bit += 5) {
    record[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(decodeRecordHeader(record, PLACE.offset), undefined, `bit ${bit}`);
    record[bit >> 3]! ^= 1 << (bit & 7);
  }
});

const chunkHeader = (change: Partial<RecordHeader> = {}): RecordHeader => ({
  ...plainHeader('chunk', { ...PLACE, offset: 2 ** 33, sequence: 7 }, 12288),
  pass: 1,
  previousRecord: 262144,
  listLength: 48,
  entryCount: 2,
  firstPfn: 5,
  lastPfn: 2 ** 40,
  ...change,
});

test('headers with counts that no record has are none, though their checksum holds', () => {
  const cases: [string, Partial<RecordHeader>][] = [
    ['good', {}],
    ['list longer than its entries', { listLength: 72 }],
    ['no entries', { entryCount: 0, listLength: 0 }],
    ['too many entries', { entryCount: 5000, listLength: 120000, length: 2 ** 20 }],
    ['longer than a chunk', { length: 2 ** 20 + 4096 }],
    ['shorter than its lists', { length: 0 }],
    ['unaligned', { offset: 2 ** 33 + 512 }],
    ['no power of two', { alignment: 12288, length: 12288, offset: 12288 * 1000 }],
    ['page larger than alignment', { pageSize: 8192 }],
    ['before the log', { offset: 4096, previousRecord: 0 }],
    ['past 8 TiB', { offset: 2 ** 43 }],
    ['predecessor behind it', { previousRecord: 2 ** 34 }],
    ['sequence 0', { sequence: 0 }],
    ['no such pass', { pass: LOG_LIMITS.passes }],
    ['pfns reversed', { firstPfn: 6, lastPfn: 5 }],
    ['no pfns', { firstPfn: undefined }],
  ];
  for (const [what, change] of cases) {
    const header = chunkHeader(change);
    const bytes = new Uint8Array(128);
    encodeRecordHeader(header, bytes);
    const found = decodeRecordHeader(bytes, header.offset);
    if (what === 'good') assert.deepEqual(found, header);
    else assert.equal(found, undefined, what);
  }
});

test('entries of a chunk read back, and each lie is found', () => {
  const lists = new Uint8Array(48);
  const view = new DataView(lists.buffer);
  const fill = (second: readonly [number, number, number, number, number]): void => {
    putChunkEntry(view, 0, 5, 4096, 4096, 0xdeadbeef, 0);
    putChunkEntry(view, 24, ...second);
  };
  fill([2 ** 40, 0, 0, 7, CODEC_ZERO]);
  const entries = new ChunkEntries(chunkHeader(), lists);
  assert.equal(entries.pfn(1), 2 ** 40);
  assert.deepEqual(
    [entries.offset(0), entries.length(0), entries.checksum(0), entries.codec(0)],
    [4096, 4096, 0xdeadbeef, 0],
  );
  const lies = [
    [2 ** 40, 8192, 5000, 7, 1],
    [2 ** 40, 8192, 0, 7, 1],
    [2 ** 40, 8192, 4000, 7, 0],
    [2 ** 40, 12000, 400, 7, 1],
    [2 ** 40, 64, 400, 7, 1],
    [2 ** 40, 4096, 0, 7, CODEC_ZERO],
    [5, 8192, 400, 7, 1],
    [2 ** 40 - 1, 8192, 400, 7, 1],
  ] as const;
  for (const lie of lies) {
    fill(lie);
    assert.throws(() => new ChunkEntries(chunkHeader(), lists), { code: 'CHUNK_ENTRY' });
  }
});

test('index entries read back', () => {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  putIndexEntry(view, 32, 2 ** 41 + 3, 2 ** 42 + 8, 100, 0x20, 0xffffffff);
  const entries = new IndexEntries(bytes);
  assert.equal(entries.count, 2);
  assert.equal(entries.pfn(1), 2 ** 41 + 3);
  assert.equal(entries.fileOffset(1), 2 ** 42 + 8);
  assert.deepEqual([entries.storedLength(1), entries.flags(1), entries.checksum(1)], [100, 0x20, 0xffffffff]);
});

function generation(): { header: RecordHeader; record: GenerationRecord } {
  const indexes = new IndexRefs();
  for (let i = 0; i < 100; i++) indexes.push(262144 + 4096 * i, 10 * i, 10 * i + 9, 10, i % 2);
  const runRecord = encodeRunRecord(RUN);
  const header: RecordHeader = {
    ...plainHeader('generation', { ...PLACE, offset: 2 ** 24, sequence: 300 }, 0),
    last: true,
  };
  const plan = planGeneration({
    ...PLACE,
    offset: header.offset,
    maxMapnr: START.maxMapnr,
    descriptorCount: 1000,
    passCount: 2,
    indexCount: 100,
    runRecordLength: runRecord.length,
  });
  return {
    header: { ...header, length: plan.length, listLength: plan.listLength },
    record: {
      bitmap1Offset: plan.bitmap1Offset,
      bitmapBytes: plan.bitmapBytes,
      descriptorsOffset: plan.descriptorsOffset,
      descriptorCount: 1000,
      presentCount: 1200,
      zeroCount: 30,
      plannedCount: 1000,
      holeCount: 0,
      bitmap1Checksum: 1,
      bitmap2Checksum: 2,
      descriptorsChecksum: 3,
      passes: START.passes,
      indexes,
      runRecord,
    },
  };
}

test('a generation reads back, and its directory with it', () => {
  const { header, record } = generation();
  const head = encodeGenerationHead(header, record);
  const found = decodeRecordHeader(head, header.offset) as RecordHeader;
  assert.equal(found.last, true);
  assert.equal(found.length, header.length);
  const lists = head.subarray(RECORD.size, RECORD.size + found.listLength);
  const read = decodeGenerationLists(found, lists);
  assert.deepEqual({ ...read, indexes: 0 }, { ...record, indexes: 0 });
  assert.equal(read.indexes.length, 100);
  assert.deepEqual(
    [read.indexes.offset(99), read.indexes.firstPfn(99), read.indexes.pass(99)],
    [262144 + 4096 * 99, 990, 1],
  );
});

test('any lists: a record or a DumpError, within bounds', () => {
  const { header, record } = generation();
  const head = encodeGenerationHead(header, record);
  const found = decodeRecordHeader(head, header.offset) as RecordHeader;
  const startBytes = encodeStartRecord(START, PLACE);
  const startHeader = decodeRecordHeader(startBytes, PLACE.offset) as RecordHeader;
  const random = seededRandom(5);
  for (let round = 0; round < 3000; round++) {
    const isStart = round % 2 === 0;
    const [from, of] = isStart ? [startBytes, startHeader] : [head, found];
    const lists = from.slice(RECORD.size, RECORD.size + of.listLength);
    const reach = round % 4 < 2 ? 700 : lists.length;
    for (let i = 0; i < 1 + (round % 6); i++) lists[random.u32() % Math.min(reach, lists.length)] = random.u32();
    try {
      if (isStart) decodeStartLists(of, lists);
      else decodeGenerationLists(of, lists);
    } catch (error) {
      assert.ok(error instanceof DumpError, String(error));
    }
  }
});

test('index references grow to their limit and not past it', () => {
  const refs = new IndexRefs();
  for (let i = 0; i < LOG_LIMITS.indexRefs; i++) refs.push(i, i, i, 1, 0);
  assert.equal(refs.offset(LOG_LIMITS.indexRefs - 1), LOG_LIMITS.indexRefs - 1);
  assert.throws(() => refs.push(0, 0, 0, 1, 0), { code: 'INDEX_REFS' });
});

const RUN: RunRecord = {
  schema: 'diskdump.run/1',
  reason: 'the device is full',
  passes: [{ name: 'essential', planned: 10, stored: 9 }],
  holes: [{ start: 3, end: 4, error: 'EIO' }],
  holePages: 1,
  omitted: { holes: 0, refused: 0, timeline: 0 },
  refused: [{ device: '/dev/vda', code: 'LABEL_ABSENT', message: 'carries no label' }],
  timeline: [
    { ms: 0, event: 'start' },
    { ms: 812.5, event: 'pass essential done' },
  ],
};

test('a run record reads back; what does not fit is counted', () => {
  assert.deepEqual(decodeRunRecord(encodeRunRecord(RUN)), RUN);
  const { reason: _, ...open } = RUN;
  assert.deepEqual(decodeRunRecord(encodeRunRecord(open)), open);
  const big = {
    ...RUN,
    holes: Array.from({ length: 40_000 }, (_, i) => ({ start: 2 * i, end: 2 * i + 1, error: 'x'.repeat(600) })),
    holePages: 40_000,
  };
  const bytes = encodeRunRecord(big);
  assert.ok(bytes.length <= 2 ** 20);
  const read = decodeRunRecord(bytes);
  assert.equal(read.holes.length + read.omitted.holes, 40_000);
  assert.equal(read.holePages, 40_000);
  const small = encodeRunRecord(big, 600);
  assert.ok(small.length <= 600);
  assert.equal(decodeRunRecord(small).omitted.holes, 40_000);
});

test('a run record of other bytes is a FormatError', () => {
  for (const text of ['', '[]', '{}', '{"schema":"diskdump.run/1"}', 'null', '\xff', '{"schema":7}'])
    assert.throws(() => decodeRunRecord(new TextEncoder().encode(text)), { code: 'RUN_RECORD' });
});
