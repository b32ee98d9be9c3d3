import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formattedDisk, SMALL, simCapture, simUuid, surveyImage } from '../../test/sim/rig.ts';
import { PAGE, simMachine } from '../../test/sim/sim-machine.ts';
import { assertSameBytes } from '../../test/support/assert-bytes.ts';
import { ensureBuilt } from '../../tools/build.ts';
import type { DumpDevice } from '../base/device.ts';
import { NoDataError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import { openDeviceDump } from '../format/kdump/device-vmcore.ts';
import { decodeRunRecord } from '../format/kdump/run-record.ts';
import { nodeCodecs } from '../host/codecs.ts';
import { readKernelBinaries } from '../host/kernel-binaries.ts';
import { HoleList } from './holes.ts';

const SIZE = 2 * 2 ** 20;

test('an unreadable range is halved down to the page, and only its bad pages are holes', () => {
  const machine = simMachine(31, 256, false);
  const first = machine.ranges[0]?.start as number;
  const bad = new Set([first + 3, first + 4, first + 5, first + 9]);
  let reads = 0;
  const damaged = {
    ...machine,
    read(pfn: number, target: Uint8Array): void {
      reads++;
      for (let i = 0; i < target.length / PAGE; i++)
        if (bad.has(pfn + i)) throw new NoDataError('MEMORY_POISONED', `pfn ${pfn + i} is poisoned`);
      machine.read(pfn, target);
    },
  };
  const disk = formattedDisk(SIZE);
  const parameters = { ...SMALL, chunkBytes: 2 ** 20, chunkEntries: 256, indexInterval: 256 };
  const options = { machine: damaged, windowBytes: 32 * PAGE, essential: [], parameters };
  const result = simCapture(machine, [disk], options);
  assert.deepEqual(result.holeRanges, [
    { start: first + 3, end: first + 6, code: 'MEMORY_POISONED' },
    { start: first + 9, end: first + 10, code: 'MEMORY_POISONED' },
  ]);
  assert.deepEqual([result.outcome, result.holes, result.pages], ['partial', 4, 252]);
  assert.equal(result.reason, '4 of 256 planned pages could not be read');
  // Each bad page costs at most two reads a halving.
  assert.ok(reads <= 256 / 32 + machine.ranges.length + bad.size * 2 * 5, `${reads} reads`);
});

test('the run record tells passes, holes, refusals and a timeline', () => {
  const machine = simMachine(32);
  const disk = formattedDisk(SIZE);
  const foreign = formattedDisk(SIZE, { name: 'foreign' });
  foreign.contents.fill(0x55, 0, 8);
  const result = simCapture(machine, [foreign, disk]);
  const dump = openDeviceDump(disk, { codecs: nodeCodecs() });
  const record = decodeRunRecord(dump.log.generation?.record.runRecord as Uint8Array);
  assert.deepEqual(
    record.passes.map(({ name }) => name),
    ['essential', 'rest'],
  );
  assert.equal(record.holePages, result.holes);
  assert.equal(record.refused[0]?.code, 'DEVICE_FOREIGN_DATA');
  assert.match(record.reason ?? '', /planned pages could not be read/);
  assert.ok(record.timeline.some(({ event }) => event.startsWith('pass essential done')));
});

test('every build of the zero test writes the same bytes', async () => {
  await ensureBuilt();
  const { simd, plain } = readKernelBinaries();
  assert.ok(simd && plain, 'both are built');
  const [expected, ...others] = [{}, { plain }, { simd, plain }].map((kernels) => {
    const disk = formattedDisk(SIZE);
    const result = simCapture(simMachine(35), [disk], { kernels });
    assert.ok(result.pages > 0);
    return disk.contents;
  });
  for (const contents of others) assertSameBytes(contents, expected as Uint8Array);
});

test('a device that fills up with zero pages, which take no room but in its tables, has room for these', () => {
  const parameters = { ...SMALL, chunkBytes: 2 ** 20, chunkEntries: 4096, indexInterval: 4096, generationShare: 0.02 };
  const base = simMachine(36, 240, false);
  const { start } = base.ranges.at(-1) as { start: number };
  const end = start + 15_000;
  const noise = new Uint8Array(PAGE).map((_, i) => i * 37 + 1);
  const machine = {
    ...base,
    ranges: [{ start, end }],
    read(pfn: number, target: Uint8Array): void {
      for (let at = 0; at < target.length; at += PAGE, pfn++)
        if (pfn % 33 === 0) target.set(noise, at);
        else target.fill(0, at, at + PAGE);
    },
  };
  for (let size = 1_310_720; size < 3_000_000; size += 196_608) {
    const disk = formattedDisk(size);
    const options = { machine, essential: [], raw: true, parameters, windowBytes: 64 * PAGE };
    const result = simCapture(base, [disk], options);
    assert.deepEqual([result.outcome, result.reason], ['partial', 'the device is full'], `${size}`);
    const dump = openDeviceDump(disk, { codecs: nodeCodecs() });
    assert.equal(dump.countPages().stored, result.pages);
    const page = new Uint8Array(PAGE);
    for (let pfn = start; pfn < start + result.pages; pfn += 11) {
      dump.readPage(pfn, page);
      assert.deepEqual(page, pfn % 33 === 0 ? noise : new Uint8Array(PAGE));
    }
  }
});

test('in memory that a device lends, whatever lies in it, the same bytes come out as in our own', () => {
  for (const seed of [37, 38]) {
    const [own, lent] = [formattedDisk(SIZE), formattedDisk(SIZE)];
    const memory = new Uint8Array(lent.maxTransfer);
    const lender: DumpDevice = {
      name: lent.name,
      blockSize: lent.blockSize,
      size: lent.size,
      maxTransfer: lent.maxTransfer,
      location: lent.location,
      sanityCheck: () => lent.sanityCheck(),
      quiesce: () => lent.quiesce(),
      read: (target, offset) => lent.read(target, offset),
      write: (bytes, offset) => lent.write(bytes, offset),
      flush: () => lent.flush(),
      shutdown: () => lent.shutdown(),
      lend: () => memory.fill(0xee),
    };
    for (const disk of [own, lender]) simCapture(simMachine(seed), [disk], { seed });
    assert.ok(SMALL.chunkBytes <= memory.length, 'it is asked for');
    assertSameBytes(lent.contents, own.contents);
  }
});

test('told to stop in mid-dump, it closes what it has, with the reason', () => {
  const machine = simMachine(39, 240, false);
  const disk = formattedDisk(SIZE);
  let chunks = 0;
  const clock = { monotonicMs: () => 0, wallMs: () => 0 };
  const cancelled = () => (++chunks > 12 ? 'the operator asked for it' : undefined);
  const result = simCapture(machine, [disk], { supervisor: { clock, progress: () => {}, cancelled } });
  assert.deepEqual([result.outcome, result.reason], ['partial', 'the operator asked for it']);
  assert.ok(result.pages > 0 && result.pages < result.plannedPages);
  assert.equal(openDeviceDump(disk, { codecs: nodeCodecs() }).countPages().stored, result.pages);
});

test('progress, watchdog and cancel are served once per chunk at least', () => {
  const machine = simMachine(33, 240, false);
  const disk = formattedDisk(SIZE);
  disk.journal.length = 0;
  let served = 0;
  simCapture(machine, [disk], {
    supervisor: {
      clock: { monotonicMs: () => 0, wallMs: () => 0 },
      progress: () => {
        served++;
      },
      cancelled: () => undefined,
    },
  });
  const writes = disk.journal.filter(({ kind }) => kind === 'write').length;
  assert.ok(served >= writes / 2, `${served} calls for ${writes} writes`);
});

test('a page that does not shrink is stored raw, and a dump without a codec is raw throughout', () => {
  const machine = simMachine(34, 240, false);
  const counts = [true, false].map((raw) => {
    const disk = formattedDisk(SIZE);
    assert.equal(simCapture(machine, [disk], { raw, seed: 2 }).outcome, 'complete');
    return openDeviceDump(disk, { codecs: nodeCodecs() }).countPages().byCodec;
  });
  assert.deepEqual(Object.keys(counts[0] ?? {}), ['raw']);
  assert.ok((counts[1]?.zlib ?? 0) > 10 && (counts[1]?.raw ?? 0) > 10);
});

test('after a failure in mid-dump the next device gets the same U and the next part', () => {
  const machine = simMachine(35, 120, false);
  const first = formattedDisk(SIZE, { name: 'first', location: { start: 0, serial: 'ONE' } });
  const second = formattedDisk(SIZE, { name: 'second', uuid: 2, location: { start: 0, serial: 'TWO' } });
  first.fault = ({ kind, offset }) => (kind === 'write' && offset > 600000 && offset < 1000000 ? 'EIO' : undefined);
  const failed: string[] = [];
  const result = simCapture(machine, [first, second], { onFailed: (uuid) => failed.push(uuid) });
  assert.deepEqual([result.device, result.part, result.outcome], ['second', 2, 'complete']);
  assert.deepEqual(failed, [formatUuid(simUuid(1))]);
  const truth = { machine, stale: machine, dumpUuid: result.dumpUuid };
  assert.equal(surveyImage(first.contents, truth).state, 'partial');
  assert.equal(surveyImage(second.contents, truth).state, 'complete');
});

test('holes are listed in bounds and counted beyond', () => {
  const holes = new HoleList(2);
  for (const pfn of [1, 2, 5, 9, 10, 20]) holes.add(pfn, 1, 'EIO');
  assert.deepEqual(holes.list(), [
    { start: 1, end: 3, code: 'EIO' },
    { start: 5, end: 6, code: 'EIO' },
  ]);
  assert.deepEqual([holes.pages, holes.omittedRanges], [6, 2]);
});
