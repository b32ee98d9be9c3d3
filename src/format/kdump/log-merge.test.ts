import assert from 'node:assert/strict';
import test from 'node:test';
import { BUILT, DeviceBuilder, pagesOf } from '../../../test/support/device-builder.ts';
import { crc32 } from '../../base/crc32.ts';
import { bytesSource } from '../../base/source.ts';
import { IndexEntries, putIndexEntry } from './log-entries.ts';
import { IndexRefs } from './log-generation.ts';
import { INDEX_ENTRY, RECORD } from './log-layout.ts';
import { EntryMerge, indexRun, looseRun } from './log-merge.ts';
import { recoverLog } from './log-reader.ts';

function entries(...pfns: number[]): IndexEntries {
  const bytes = new Uint8Array(pfns.length * INDEX_ENTRY.size);
  const view = new DataView(bytes.buffer);
  pfns.forEach((pfn, i) => {
    putIndexEntry(view, i * INDEX_ENTRY.size, pfn, pfn * 4096 + 2 ** 40, 100 + (pfn % 7), 1, pfn ^ 0x55);
  });
  return new IndexEntries(bytes);
}

function drain(merge: EntryMerge): number[] {
  const pfns: number[] = [];
  while (merge.next()) {
    assert.equal(merge.fileOffset, merge.pfn * 4096 + 2 ** 40);
    assert.equal(merge.storedLength, 100 + (merge.pfn % 7));
    assert.equal(merge.flags, 1);
    assert.equal(merge.proofPfn, merge.pfn % 2 ** 32);
    pfns.push(merge.pfn);
  }
  return pfns;
}

test('runs come out as one, ascending; a pfn of two runs comes once', () => {
  const merge = new EntryMerge([looseRun(entries(1, 5, 9)), looseRun(entries(2, 5, 2 ** 40)), looseRun(entries())]);
  assert.deepEqual(drain(merge), [1, 2, 5, 9, 2 ** 40]);
  assert.equal(merge.next(), false);
  assert.deepEqual(drain(new EntryMerge([])), []);
});

test('a run out of order, or past every pfn, is refused', () => {
  const merge = new EntryMerge([looseRun(entries(1, 7, 3))]);
  assert.throws(() => drain(merge), { code: 'INDEX_ORDER' });
  assert.throws(() => looseRun(entries(2 ** 52)), { code: 'INDEX_ORDER' });
});

/** Three indexes of pass 1 and one of pass 0. */
function indexed() {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(40, 44));
  builder.index(0);
  for (const start of [0, 12, 24]) {
    builder.chunk(1, pagesOf(start, start + 12));
    builder.index(1);
  }
  const scope = { dumpUuid: BUILT.dumpUuid, part: 1, dataEnd: builder.capacity };
  const { indexes: refs } = recoverLog(bytesSource(builder.image), scope);
  return { builder, refs, source: bytesSource(builder.image) };
}

test('index records of a pass are one run, whatever the window', () => {
  const { refs, source } = indexed();
  for (const windowBytes of [32, 96, 4096]) {
    const pfns = (pass: number, startPfn = 0): number[] => {
      const merge = new EntryMerge([indexRun({ source, refs, pass, startPfn, crc: crc32, windowBytes })]);
      const found: number[] = [];
      while (merge.next()) found.push(merge.pfn);
      return found;
    };
    assert.deepEqual(pfns(0), [40, 41, 42, 43]);
    assert.deepEqual(
      pfns(1),
      Array.from({ length: 36 }, (_, i) => i),
    );
    assert.deepEqual(pfns(1, 20)[0], 12);
    assert.deepEqual(pfns(1, 36), []);
    assert.deepEqual(pfns(2), []);
  }
});

test('an index record that changed since is found out', () => {
  const { builder, refs, source } = indexed();
  const run = () => {
    const merge = new EntryMerge([indexRun({ source, refs, pass: 1, crc: crc32 })]);
    while (merge.next());
  };
  builder.image[refs.offset(2) + 128 + 33]! ^= 1;
  assert.throws(run, { code: /INDEX_(CHECKSUM|ORDER)/ });
  builder.image[refs.offset(2) + 128 + 33]! ^= 1;
  // A stored length, which no order gives away, in the first and in the last entry of the last record.
  for (const entry of [0, 11]) {
    const at = refs.offset(refs.length - 1) + RECORD.size + entry * INDEX_ENTRY.size + INDEX_ENTRY.storedLength;
    builder.image[at]! ^= 1;
    assert.throws(run, { code: 'INDEX_CHECKSUM' });
    builder.image[at]! ^= 1;
  }
  run();
  builder.image[refs.offset(1) + 40]! ^= 1;
  assert.throws(run, { code: 'INDEX_RECORD' });
  assert.throws(() => indexRun({ source, refs: lying(), pass: 0, crc: crc32 }), { code: /INDEX_RECORD|TRUNCATED/ });
});

function lying(): IndexRefs {
  const refs = new IndexRefs();
  refs.push(2 ** 42, 0, 5, 6, 0);
  return refs;
}
