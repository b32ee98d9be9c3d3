import assert from 'node:assert/strict';
import test from 'node:test';
import { type BuilderOptions, DeviceBuilder, memoryDevice, pagesOf } from '../../../test/support/device-builder.ts';
import { DumpError, FormatError, NoDataError } from '../../base/errors.ts';
import { seededRandom } from '../../base/random.ts';
import { type ByteSource, bytesSource } from '../../base/source.ts';
import { nodeCodecs } from '../../host/codecs.ts';
import type { PageRun, Vmcore } from '../vmcore.ts';
import { type DeviceDump, looksLikeDumpDevice, openDeviceDump } from './device-vmcore.ts';
import { openKdump } from './reader.ts';

const options = { codecs: nodeCodecs() };
const NOTES = new TextEncoder().encode('....................OSRELEASE=6.12.0-test\n');
const RANGES = [
  [0, 40],
  [100, 164],
] as const;
const PASSES = [
  { name: 'essential', planned: 8 },
  { name: 'rest', planned: 96 },
];

/** Everything planned, in two generations; `last` as given. */
function built(change: BuilderOptions = {}) {
  const builder = new DeviceBuilder({
    ranges: RANGES,
    passes: PASSES,
    notes: NOTES,
    vmcoreinfo: [20, NOTES.length - 20],
    ...change,
  });
  builder.label('inUse');
  builder.start();
  builder.chunk(0, [...pagesOf(4, 8), ...pagesOf(120, 124)]);
  builder.index(0);
  const first = builder.generation({ runRecord: RUN });
  builder.chunk(1, [...pagesOf(0, 4), ...pagesOf(8, 30)]);
  builder.index(1);
  builder.chunk(1, [...pagesOf(30, 40), ...pagesOf(100, 110)]);
  return { builder, first, behind: builder.end };
}

const RUN = JSON.stringify({
  schema: 'diskdump.run/1',
  reason: 'the device is full',
  passes: [],
  holes: [{ start: 6, end: 7, error: 'EIO' }],
  holePages: 1,
  omitted: { holes: 0, refused: 0, timeline: 0 },
  refused: [{ device: '/dev/vda', code: 'LABEL_ABSENT', message: 'no label' }],
  timeline: [{ ms: 12, event: 'start' }],
});

function finish(builder: DeviceBuilder, last: boolean) {
  builder.chunk(1, [...pagesOf(110, 120), ...pagesOf(124, 164)]);
  builder.index(1);
  const generation = builder.generation({ last });
  builder.blockZero(generation.bitmap1, last ? 0 : 8);
  return generation;
}

function pageMap(dump: Vmcore): Map<number, Uint8Array> {
  const pages = new Map<number, Uint8Array>();
  for (const run of dump.walkPages()) {
    if (run.presence !== 'stored' && run.presence !== 'zero') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      const page = new Uint8Array(dump.pageSize);
      dump.readPage(pfn, page);
      pages.set(pfn, page);
    }
  }
  return pages;
}

const sorted = (pages: ReadonlyMap<number, Uint8Array>) => [...pages].sort(([a], [b]) => a - b);

test('complete: the label says so and the generation marked last is there', () => {
  const { builder } = built();
  const generation = finish(builder, true);
  const cut = openDeviceDump(bytesSource(builder.image), options);
  assert.equal(cut.state, 'partial');
  assert.match(cut.partialReason ?? '', /every planned page is there/);
  assert.equal(cut.countPages().stored, 104);
  builder.label('complete');
  const dump = openDeviceDump(memoryDevice(builder.image), { ...options, verify: true });
  assert.equal(dump.state, 'complete');
  assert.equal(dump.partialReason, undefined);
  assert.deepEqual(sorted(pageMap(dump)), sorted(builder.pages));
  assert.deepEqual(dump.countPages(), { present: 104, stored: 104, zero: 26, byCodec: { raw: 52, zlib: 26 } });
  assert.deepEqual(dump.header.passes, [
    { name: 'essential', planned: 8, stored: 8, complete: true },
    { name: 'rest', planned: 96, stored: 96, complete: true },
  ]);
  assert.equal(new TextDecoder().decode(dump.vmcoreinfo), 'OSRELEASE=6.12.0-test\n');
  assert.equal(dump.arch, 'x86_64');
  assert.equal(dump.header.utsname?.release, '6.12.0-test');
  assert.equal(dump.header.timestampSeconds, 1_789_999_999);
  assert.equal(dump.part, 1);
  builder.image.fill(0, generation.offset, generation.offset + 4096);
  const lost = openDeviceDump(bytesSource(builder.image), options);
  assert.equal(lost.state, 'partial');
  assert.match(lost.partialReason ?? '', /its last generation cannot be found/);
});

test('the device is a KDUMP file as it lies, with the same pages', () => {
  const { builder } = built();
  finish(builder, true);
  const kdump = openKdump(bytesSource(builder.image), options);
  assert.deepEqual(sorted(pageMap(kdump)), sorted(builder.pages));
  assert.equal(kdump.state, 'complete');
});

test('newest generation, indexes and loose chunks behind it, as one dump', () => {
  for (const withBlockZero of [true, false]) {
    const { builder, first } = built();
    if (withBlockZero) builder.blockZero(first.bitmap1, 8);
    const dump = openDeviceDump(bytesSource(builder.image), options);
    assert.equal(dump.state, 'partial');
    assert.match(dump.partialReason ?? '', /did not finish/);
    assert.deepEqual(sorted(pageMap(dump)), sorted(builder.pages));
    assert.equal(dump.presence(39), 'zero');
    assert.equal(dump.presence(109), 'stored');
    assert.equal(dump.presence(110), 'hole');
    assert.equal(dump.presence(50), 'absent');
    assert.throws(() => dump.readPage(110, new Uint8Array(4096)), { code: 'PAGE_HOLE' });
    assert.throws(() => dump.readPage(50, new Uint8Array(4096)), { code: 'PAGE_ABSENT' });
    assert.deepEqual(dump.countPages(), { present: 104, stored: 54, zero: 13, byCodec: { raw: 28, zlib: 13 } });
    assert.deepEqual(
      dump.header.passes?.map((pass) => pass.complete),
      [true, false],
    );
    assert.equal(dump.runRecord?.refused[0]?.device, '/dev/vda');
  }
});

test('no generation at all: indexes and loose chunks', () => {
  const builder = new DeviceBuilder({ ranges: RANGES, passes: PASSES });
  builder.label('inUse');
  builder.start();
  assert.throws(() => openDeviceDump(bytesSource(builder.image), options), { code: 'DEVICE_NO_DUMP' });
  builder.chunk(0, pagesOf(0, 8));
  builder.index(0);
  builder.chunk(1, pagesOf(8, 12));
  const dump = openDeviceDump(bytesSource(builder.image), options);
  assert.deepEqual(sorted(pageMap(dump)), sorted(builder.pages));
  assert.deepEqual([...dump.walkPages(30)], [
    { start: 30, end: 40, presence: 'hole' },
    { start: 100, end: 164, presence: 'hole' },
  ] satisfies PageRun[]);
  assert.deepEqual(dump.countPages(), { present: 104, stored: 12, zero: 3, byCodec: { raw: 6, zlib: 3 } });
});

test('presence agrees with the walk, from every start', () => {
  const { builder, first } = built();
  builder.blockZero(first.bitmap1, 8);
  const dump = openDeviceDump(bytesSource(builder.image), options);
  for (let start = 0; start < 170; start += 7) {
    const seen = new Map<number, string>();
    let end = start;
    for (const run of dump.walkPages(start)) {
      assert.ok(run.start >= end && run.end > run.start);
      end = run.end;
      for (let pfn = run.start; pfn < run.end; pfn++) seen.set(pfn, run.presence);
    }
    for (let pfn = start; pfn < 170; pfn++) assert.equal(seen.get(pfn) ?? 'absent', dump.presence(pfn), `pfn ${pfn}`);
  }
});

test('stored bytes are passed on as they lie, before and behind the generation', () => {
  const { builder, first } = built();
  builder.blockZero(first.bitmap1, 8);
  const dump = openDeviceDump(bytesSource(builder.image), options);
  const target = new Uint8Array(4096);
  for (const pfn of [4, 6, 7, 8, 10, 11]) {
    const stored = dump.readStored(pfn, target);
    assert.equal(stored.length === 0, pfn % 4 === 3);
    assert.equal(stored.flags, pfn % 4 === 2 ? 1 : 0);
    assert.equal(typeof stored.checksum, 'number');
  }
});

test('a page that is not what its descriptor proves is refused, never given wrong', () => {
  const { builder, first } = built();
  builder.blockZero(first.bitmap1, 8);
  const dump = openDeviceDump(bytesSource(builder.image), options);
  for (const pfn of [4, 8, 32]) {
    const page = builder.pages.get(pfn) as Uint8Array;
    const at = indexOf(builder.image, page);
    builder.image[at + 77]! ^= 1;
    assert.throws(() => dump.readPage(pfn, new Uint8Array(4096)), FormatError);
    builder.image[at + 77]! ^= 1;
    dump.readPage(pfn, new Uint8Array(4096));
  }
});

test('states without a dump are told apart', () => {
  const code = (state: 'ready' | 'saved') => {
    const builder = new DeviceBuilder();
    builder.label(state);
    return () => openDeviceDump(bytesSource(builder.image), options);
  };
  assert.throws(code('ready'), { code: 'DEVICE_EMPTY' });
  assert.throws(code('saved'), { code: 'DEVICE_SAVED' });
  assert.throws(() => openDeviceDump(bytesSource(new Uint8Array(4 << 20)), options), { code: 'DEVICE_UNFORMATTED' });
  const { builder } = built();
  assert.throws(() => openDeviceDump(bytesSource(builder.image.subarray(65536)), options), { code: 'DEVICE_SIZE' });
});

test('the run record says why a dump ended', () => {
  const builder = new DeviceBuilder({ ranges: RANGES, passes: PASSES });
  builder.label('ended');
  builder.start();
  builder.chunk(0, pagesOf(0, 8));
  builder.index(0);
  const end = builder.generation({ runRecord: RUN });
  builder.blockZero(end.bitmap1, 8);
  assert.equal(openDeviceDump(bytesSource(builder.image), options).partialReason, 'the device is full');
  builder.image.fill(0x20, end.offset + 128 + 128 + 2 * 64 + 32 + 5, end.offset + 128 + 128 + 2 * 64 + 32 + 6);
  assert.notEqual(openDeviceDump(bytesSource(builder.image), options).log.generation?.header.offset, end.offset);
});

test('without its start record a dump still gives its pages, and says what is gone', () => {
  const { builder } = built();
  finish(builder, true);
  builder.label('complete');
  builder.image[262144 + 300]! ^= 1;
  const dump = openDeviceDump(bytesSource(builder.image), options);
  assert.equal(dump.state, 'partial');
  assert.match(dump.partialReason ?? '', /start record is gone/);
  assert.deepEqual(sorted(pageMap(dump)), sorted(builder.pages));
  assert.deepEqual(dump.notes, []);
});

test('a stale dump under wipe = none is never mixed in', () => {
  const stale = built({ dumpUuid: Uint8Array.from({ length: 16 }, () => 9) });
  finish(stale.builder, true);
  const fresh = new DeviceBuilder({ ranges: RANGES, passes: PASSES });
  fresh.image.set(stale.builder.image);
  fresh.label('inUse', { counter: 50 });
  fresh.start();
  fresh.chunk(0, pagesOf(4, 8));
  const dump = openDeviceDump(bytesSource(fresh.image), options);
  assert.deepEqual([...pageMap(dump).keys()], [4, 5, 6, 7]);
});

test('opening reads little, whatever the size of the device', () => {
  const { builder } = built({ size: 64 << 20 });
  finish(builder, true);
  builder.label('complete');
  let bytes = 0;
  const source: ByteSource = {
    ...bytesSource(builder.image),
    readInto(target, offset) {
      bytes += target.length;
      return bytesSource(builder.image).readInto(target, offset);
    },
  };
  openDeviceDump(source, options);
  assert.ok(bytes < 256 * 1024, `${bytes} bytes read`);
});

test('the probe knows a device by its label', () => {
  const { builder } = built();
  assert.equal(looksLikeDumpDevice(bytesSource(builder.image)), true);
  builder.image.fill(0, builder.image.length - 65536, builder.image.length - 40000);
  assert.equal(looksLikeDumpDevice(bytesSource(builder.image)), true);
  assert.equal(looksLikeDumpDevice(bytesSource(new Uint8Array(1 << 20))), false);
  assert.equal(looksLikeDumpDevice(bytesSource(new Uint8Array(100))), false);
});

test('any bytes: a value or a DumpError, and never a wrong page', () => {
  const { builder, first, behind } = built();
  builder.blockZero(first.bitmap1, 8);
  const random = seededRandom(4711);
  const page = new Uint8Array(4096);
  for (let round = 0; round < 150; round++) {
    const image = builder.image.slice();
    for (let i = 0; i < 1 + (round % 30); i++) image[random.u32() % behind]! ^= 1 << (random.u32() & 7);
    const dump = attempt(() => openDeviceDump(bytesSource(image), options));
    if (!dump) continue;
    for (const pfn of builder.pages.keys()) {
      const given = attempt(() => {
        dump.readPage(pfn, page);
        return true;
      });
      if (given) assert.deepEqual(page, builder.pages.get(pfn), `round ${round} pfn ${pfn}`);
    }
    attempt(() => dump.countPages());
    attempt(() => [...dump.walkPages()]);
  }
});

function attempt<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (error) {
    if (error instanceof DumpError) return undefined;
    throw error;
  }
}

function indexOf(image: Uint8Array, page: Uint8Array): number {
  return Buffer.from(image.buffer, image.byteOffset, image.length).indexOf(page);
}

test('errors of an empty device are NoDataErrors', () => {
  const builder = new DeviceBuilder();
  builder.label('ready');
  const open = (): DeviceDump => openDeviceDump(bytesSource(builder.image), options);
  assert.throws(open, NoDataError);
});
