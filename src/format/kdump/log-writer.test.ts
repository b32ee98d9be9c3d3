import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formattedDisk, SMALL, simCapture, simUuid, surveyImage } from '../../../test/sim/rig.ts';
import { SimDisk, type SimOperation } from '../../../test/sim/sim-disk.ts';
import { simMachine } from '../../../test/sim/sim-machine.ts';
import { assertSameBytes } from '../../../test/support/assert-bytes.ts';
import { Cursor } from '../../base/cursor.ts';
import { formatUuid } from '../../base/hex.ts';
import { KDUMP_HEADER, KDUMP_STATUS } from './layout.ts';
import { GEOMETRY, RECORD, RECORD_KIND } from './log-layout.ts';
import { WRITER_PARAMETERS } from './log-parameters.ts';
import { decodeRecordHeader, type RecordHeader } from './log-records.ts';

const MIB = 2 ** 20;

/** Headers of the records that a run wrote, in the order of writing. */
function recordsOf(journal: readonly SimOperation[]): RecordHeader[] {
  return journal.flatMap((operation) => {
    if (operation.kind !== 'write') return [];
    const header = decodeRecordHeader(operation.bytes, operation.offset);
    return header ? [header] : [];
  });
}

for (const [pageSize, blockSize] of [
  [4096, 512],
  [4096, 4096],
  [4096, 65536],
  [16384, 4096],
  [65536, 512],
  [65536, 65536],
] as const) {
  test(`pages of ${pageSize} bytes on blocks of ${blockSize}: every page comes back, ours and through block 0`, () => {
    const machine = simMachine(21, 90, false, pageSize);
    const disk = formattedDisk(40 * MIB, { blockSize });
    disk.journal.length = 0;
    const parameters = { ...SMALL, chunkBytes: 4 * 65536 };
    const result = simCapture(machine, [disk], { parameters, windowBytes: 4 * pageSize });
    assert.equal(result.outcome, 'complete');
    const truth = { machine, stale: machine, dumpUuid: formatUuid(simUuid(1001)) };
    assert.deepEqual(surveyImage(disk.contents, truth), { state: 'complete', pages: 90, block0: 'new' });
    const alignment = Math.max(pageSize, 4096, blockSize);
    for (const { offset, length } of recordsOf(disk.journal)) assert.equal((offset + length) % alignment, 0);
  });
}

test('records follow each other without a gap, each naming the ones before it', () => {
  const disk = formattedDisk(2 * MIB);
  disk.journal.length = 0;
  simCapture(simMachine(22), [disk]);
  const records = recordsOf(disk.journal).sort((a, b) => a.offset - b.offset);
  const last = new Map<string, number>();
  let end: number = GEOMETRY.logStart;
  records.forEach((record, i) => {
    assert.equal(record.offset, end);
    assert.equal(record.sequence, i + 1);
    assert.equal(record.previousRecord, records[i - 1]?.offset ?? 0);
    assert.equal(record.previousIndex, last.get('index') ?? 0);
    assert.equal(record.previousGeneration, last.get('generation') ?? 0);
    last.set(record.kind, record.offset);
    end = record.offset + record.length;
  });
  assert.deepEqual([records[0]?.kind, records.at(-1)?.kind], ['start', 'generation']);
});

test('a full chunk of raw pages is one transfer of exactly 1 MiB', () => {
  const machine = simMachine(23, 2000, false);
  const disk = formattedDisk(16 * MIB);
  disk.journal.length = 0;
  const full = { ...machine, read: (_: number, target: Uint8Array) => void target.fill(7) };
  const options = { machine: full, raw: true, parameters: WRITER_PARAMETERS };
  assert.equal(simCapture(machine, [disk], options).outcome, 'complete');
  const chunks = disk.journal.flatMap((operation) =>
    operation.kind === 'write' && new Cursor(operation.bytes).u16(RECORD.kind) === RECORD_KIND.chunk
      ? [operation.bytes.length]
      : [],
  );
  assert.ok(chunks.filter((length) => length === MIB).length >= 5, `${chunks}`);
  assert.ok(Math.max(...chunks) <= MIB);
});

test('flush, generation, flush, block 0, flush; the head of a generation after its body', () => {
  const disk = formattedDisk(2 * MIB);
  disk.journal.length = 0;
  simCapture(simMachine(24), [disk]);
  const { journal } = disk;
  const generations = journal.flatMap((operation, i) =>
    operation.kind === 'write' && decodeRecordHeader(operation.bytes, operation.offset)?.kind === 'generation'
      ? [i]
      : [],
  );
  assert.ok(generations.length >= 3);
  for (const head of generations) {
    const { offset } = journal[head] as { offset: number };
    let body = head - 1;
    while (journal[body]?.kind === 'write') body--;
    assert.ok(head - body > 3, 'bitmaps and descriptors come between the flush and the head');
    for (const write of journal.slice(body + 1, head)) assert.ok(write.kind === 'write' && write.offset > offset);
    const [flush, block0, after] = journal.slice(head + 1, head + 4);
    assert.deepEqual([flush?.kind, block0?.kind, after?.kind], ['flush', 'write', 'flush']);
    assert.equal((block0 as { offset: number }).offset, 0);
  }
});

test('block 0 says incomplete until the last generation, and its time has no fraction', () => {
  for (const holes of [true, false]) {
    const disk = formattedDisk(2 * MIB);
    disk.journal.length = 0;
    simCapture(simMachine(25, 240, holes), [disk]);
    const block0 = disk.journal.flatMap((operation) =>
      operation.kind === 'write' && operation.offset === 0 && operation.bytes[0] !== 0
        ? [new Cursor(operation.bytes)]
        : [],
    );
    const incomplete = block0.map((block) => (block.u32(KDUMP_HEADER.status) & KDUMP_STATUS.incomplete) !== 0);
    assert.deepEqual(incomplete, [...incomplete.slice(0, -1).fill(true), holes]);
    for (const block of block0) assert.equal(block.u64(KDUMP_HEADER.timestampFraction), 0);
  }
});

test('generations inside a pass stay within their share', () => {
  const disk = formattedDisk(8 * MIB);
  disk.journal.length = 0;
  const parameters = { ...SMALL, generationShare: 0.04 };
  simCapture(simMachine(26, 1500, false), [disk], { parameters });
  const records = recordsOf(disk.journal);
  const generations = records.filter(({ kind }) => kind === 'generation');
  const bytes = generations.slice(1).reduce((sum, { length }) => sum + length, 0);
  const written = records.reduce((sum, { length }) => sum + length, 0);
  assert.ok(
    generations.length >= 2 && bytes / written < 0.06,
    `${generations.length} generations, ${bytes} of ${written}`,
  );
});

test('nothing of a run reads what another wrote: the journal holds the whole dump', () => {
  const machine = simMachine(27, 120, false);
  const disk = formattedDisk(2 * MIB);
  const before = disk.contents.slice();
  disk.journal.length = 0;
  simCapture(machine, [disk]);
  const replayed = new SimDisk({ image: before });
  for (const operation of disk.journal)
    if (operation.kind === 'write') replayed.contents.set(operation.bytes, operation.offset);
  assertSameBytes(replayed.contents, disk.contents);
});
