import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BuiltPage,
  buildKdump,
  buildNote,
  buildPage,
  buildPrstatus,
  concat,
  type KdumpRecipe,
} from '../../../test/support/kdump-builder.ts';
import { crc32 } from '../../base/crc32.ts';
import { bytesSource } from '../../base/source.ts';
import { nodeCodecs } from '../../host/codecs.ts';
import type { PagePresence, Vmcore } from '../vmcore.ts';
import { openKdump } from './reader.ts';

const CODECS = nodeCodecs();

const PAGES: readonly BuiltPage[] = [
  { pfn: 0, bytes: buildPage(0), codec: 'zlib' },
  { pfn: 1, bytes: 'zero' },
  { pfn: 2, bytes: 'zero' },
  { pfn: 9, bytes: buildPage(9) },
  { pfn: 40_000, bytes: buildPage(40_000), codec: 'zstd' },
  { pfn: 69_999, bytes: 'zero' },
];
const RECIPE: KdumpRecipe = { maxMapnr: 70_000, pages: PAGES, alsoPresent: [5, 6, 69_000], dumpLevel: 31 };

function open(recipe: KdumpRecipe): Vmcore {
  return openBytes(buildKdump(recipe));
}

function openBytes(bytes: Uint8Array): Vmcore {
  return openKdump(bytesSource(bytes, 'vmcore'), { codecs: CODECS });
}

function readPage(vmcore: Vmcore, pfn: number): Uint8Array {
  const page = new Uint8Array(vmcore.pageSize).fill(0xaa);
  vmcore.readPage(pfn, page);
  return page;
}

function checkPages(vmcore: Vmcore): void {
  for (const { pfn, bytes } of PAGES) {
    assert.deepEqual(readPage(vmcore, pfn), bytes === 'zero' ? new Uint8Array(4096) : bytes, `page ${pfn}`);
    assert.equal(vmcore.presence(pfn), bytes === 'zero' ? 'zero' : 'stored');
  }
}

for (const [name, change] of Object.entries<KdumpRecipe>({
  'classic order': {},
  'metadata behind the data': { metadataLast: true },
  'one bitmap': { singleBitmap: true, alsoPresent: [] },
  'version 1': { version: 1 },
  'version 5': { version: 5 },
})) {
  test(`pages of a file in ${name}`, () => {
    const recipe = { ...RECIPE, ...change };
    const vmcore = open(recipe);
    checkPages(vmcore);
    assert.equal(vmcore.state, 'complete');
    assert.equal(vmcore.maxMapnr, 70_000);
    assert.equal(vmcore.arch, 'x86_64');
    assert.deepEqual(vmcore.countPages(), {
      present: 6 + (recipe.alsoPresent?.length ?? 0),
      stored: 6,
      zero: 3,
      byCodec: { zlib: 1, raw: 1, zstd: 1 },
    });
  });
}

test('runs ascend, merge neighbours, begin anywhere', () => {
  const runs = [...open(RECIPE).walkPages()];
  assert.deepEqual(runs, [
    { start: 0, end: 1, presence: 'stored' },
    { start: 1, end: 3, presence: 'zero' },
    { start: 5, end: 7, presence: 'excluded' },
    { start: 9, end: 10, presence: 'stored' },
    { start: 40_000, end: 40_001, presence: 'stored' },
    { start: 69_000, end: 69_001, presence: 'excluded' },
    { start: 69_999, end: 70_000, presence: 'zero' },
  ]);
  for (const start of [1, 2, 3, 6, 39_999, 40_000, 40_001, 69_999, 70_000]) {
    const expected = runs
      .filter((run) => run.end > start)
      .map((run) => ({ ...run, start: Math.max(start, run.start) }));
    assert.deepEqual([...open(RECIPE).walkPages(start)], expected, `from ${start}`);
  }
});

test('what is not there says why', () => {
  const vmcore = open(RECIPE);
  const expectNoData = (pfn: number, presence: PagePresence, code: string): void => {
    assert.equal(vmcore.presence(pfn), presence);
    assert.throws(() => readPage(vmcore, pfn), { name: 'NoDataError', code });
  };
  expectNoData(5, 'excluded', 'PAGE_EXCLUDED');
  expectNoData(4, 'absent', 'PAGE_ABSENT');
  expectNoData(70_000, 'absent', 'PAGE_ABSENT');
  // Where no filter was at work, a page that existed and has no descriptor is missing.
  assert.equal(open({ ...RECIPE, dumpLevel: 1 }).presence(5), 'hole');
});

test('a page lost by an incomplete dump is a hole', () => {
  const vmcore = open({ ...RECIPE, status: 0x08, pages: [...PAGES, { pfn: 50_000, bytes: 'lost' }] });
  assert.equal(vmcore.state, 'partial');
  assert.equal(vmcore.presence(50_000), 'hole');
  assert.throws(() => readPage(vmcore, 50_000), { code: 'PAGE_HOLE' });
  checkPages(vmcore);
});

test('a file cut anywhere yields only right pages and says that it was cut', () => {
  const bytes = buildKdump(RECIPE);
  const whole = openBytes(bytes);
  const truth = new Map(PAGES.map(({ pfn }) => [pfn, readPage(whole, pfn)]));
  for (let length = bytes.length - 1; length > 0; length -= 997) {
    let vmcore: Vmcore;
    try {
      vmcore = openBytes(bytes.subarray(0, length));
    } catch (error) {
      assert.equal((error as { name?: string }).name, 'FormatError');
      continue;
    }
    assert.equal(vmcore.state, 'partial', `cut at ${length}`);
    for (const [pfn, expected] of truth) {
      if (vmcore.presence(pfn) === 'hole') continue;
      assert.deepEqual(readPage(vmcore, pfn), expected);
    }
  }
});

test('stored bytes are handed on as they are', () => {
  const vmcore = open(RECIPE);
  const target = new Uint8Array(4096);
  assert.deepEqual(vmcore.readStored(1, target), { flags: 0, length: 0 });
  assert.deepEqual(vmcore.readStored(9, target), { flags: 0, length: 4096 });
  assert.deepEqual(target, buildPage(9));
  const { flags, length } = vmcore.readStored(0, target);
  assert.equal(flags, 1);
  const page = new Uint8Array(4096);
  CODECS.get(1)?.decompress(target.subarray(0, length), page);
  assert.deepEqual(page, buildPage(0));
});

test('a proof in page_flags is checked at each read', () => {
  const page = buildPage(7);
  const zero = crc32(new Uint8Array(4096));
  const good: BuiltPage = { pfn: 7, bytes: page, codec: 'zlib', proof: [crc32(page), 7] };
  const proven: BuiltPage[] = [good, { pfn: 8, bytes: 'zero', proof: [zero, 8] }];
  assert.equal(open({ pages: proven }).readStored(7, new Uint8Array(4096)).checksum, crc32(page));
  assert.equal(open({ pages: proven }).presence(8), 'zero');
  const wrong = open({ pages: [...proven, { pfn: 9, bytes: buildPage(10), proof: [crc32(page), 9] }] });
  assert.throws(() => readPage(wrong, 9), { name: 'FormatError', code: 'PAGE_CHECKSUM' });
  const zeroWrong = open({ pages: [...proven, { pfn: 9, bytes: 'zero', proof: [zero ^ 1, 9] }] });
  assert.equal(zeroWrong.presence(9), 'stored');
  assert.throws(() => readPage(zeroWrong, 9), { code: 'PAGE_CHECKSUM' });
  const moved = open({ pages: [...proven, { pfn: 9, bytes: page, proof: [crc32(page), 7] }] });
  assert.throws(() => readPage(moved, 9), { name: 'FormatError', code: 'KDUMP_PAGE_RANK' });
});

test('a damaged descriptor is a FormatError, a missing codec an UnsupportedError', () => {
  const long = open({ pages: [{ pfn: 3, bytes: buildPage(3, 8192) }] });
  assert.throws(() => readPage(long, 3), { name: 'FormatError', code: 'KDUMP_PAGE_LENGTH' });
  const short = open({ pages: [{ pfn: 3, bytes: new Uint8Array(100).fill(1) }] });
  assert.throws(() => readPage(short, 3), { name: 'FormatError', code: 'KDUMP_PAGE_LENGTH' });
  const broken = open({ pages: [{ pfn: 3, bytes: new Uint8Array(100).fill(1), codec: 'lzo' }] });
  assert.throws(() => readPage(broken, 3), { name: 'UnsupportedError', code: 'PAGE_CODEC_MISSING', message: /lzo/ });
  const file = buildKdump({ pages: [{ pfn: 3, bytes: buildPage(3), codec: 'zlib' }] });
  file.fill(0x55, file.length - 40);
  assert.throws(() => readPage(openBytes(file), 3), { name: 'FormatError', code: 'PAGE_CODEC' });
});

test('variants that are not read are named', () => {
  const header = (change: (view: DataView) => void): Uint8Array => {
    const bytes = buildKdump(RECIPE);
    change(new DataView(bytes.buffer));
    return bytes;
  };
  const expectUnsupported = (bytes: Uint8Array, message: RegExp): void => {
    assert.throws(() => openBytes(bytes), { name: 'UnsupportedError', message });
  };
  expectUnsupported(
    header((view) => view.setInt32(8, 0, true)),
    /version 0/,
  );
  expectUnsupported(
    header((view) => view.setInt32(8, 7, true)),
    /version 7/,
  );
  expectUnsupported(buildKdump({ ...RECIPE, split: 1 }), /split/);
  const narrow = new Uint8Array(8192);
  narrow.set(new TextEncoder().encode('KDUMP   '));
  const view = new DataView(narrow.buffer);
  for (const little of [true, false]) {
    view.setInt32(8, 6, little);
    view.setInt32(416, 4096, little);
    view.setUint32(424, 2, little);
    view.setUint32(428, 1000, little);
    expectUnsupported(narrow, little ? /32-bit/ : /big-endian/);
  }
});

test('a header that contradicts itself is a FormatError', () => {
  const corrupt = (at: number, value: number): Uint8Array => {
    const bytes = buildKdump({ ...RECIPE, vmcoreinfo: 'OSRELEASE=x\n' });
    new DataView(bytes.buffer).setUint32(at, value, true);
    return bytes;
  };
  for (const bytes of [
    corrupt(428, 4095),
    corrupt(428, 2 ** 20),
    corrupt(432, 0),
    corrupt(432, 0x7fffffff),
    corrupt(436, 1),
    corrupt(4096 + 96, 2 ** 31),
    corrupt(4096 + 100, 2 ** 20),
    corrupt(4096 + 36, 1),
    corrupt(4096 + 40, 2 ** 31),
    corrupt(4096 + 56, 2 ** 31),
    new TextEncoder().encode('KDUMP   '),
    new Uint8Array(0),
  ]) {
    assert.throws(() => openBytes(bytes), { name: 'FormatError' });
  }
});

test('notes, vmcoreinfo and the architecture they tell', () => {
  const notes = concat([buildPrstatus(1, 2n), buildNote('QEMU', 0, new Uint8Array(440))]);
  const vmcore = open({ ...RECIPE, notes, vmcoreinfo: 'OSRELEASE=6.1\n', machine: '' });
  assert.deepEqual(
    vmcore.notes.map((note) => note.owner),
    ['CORE', 'QEMU', 'VMCOREINFO'],
  );
  assert.equal(new TextDecoder().decode(vmcore.vmcoreinfo), 'OSRELEASE=6.1\n');
  assert.equal(vmcore.arch, 'x86_64');
  assert.equal(open({ ...RECIPE, machine: 'aarch64' }).arch, 'aarch64');
});

test('a machine of 1 TiB is opened without reading its tables, and read with little of them', () => {
  const built = buildKdump({ pages: [{ pfn: 3, bytes: buildPage(3) }] });
  // The same head over tables that nobody wrote: a sparse file.
  const pageSize = 4096;
  const bitmap = 2 ** 28 / 8;
  const view = new DataView(built.buffer);
  view.setUint32(436, (2 * bitmap) / pageSize, true);
  view.setUint32(440, 2 ** 28, true);
  view.setUint32(pageSize + 96, 2 ** 28, true);
  let read = 0;
  const source = {
    name: 'sparse',
    size: 2 ** 36,
    readInto(target: Uint8Array, offset: number) {
      read += target.length;
      target.fill(0);
      if (offset < 2 * pageSize) target.set(built.subarray(offset, Math.min(2 * pageSize, offset + target.length)));
      return target.length;
    },
  };
  const vmcore = openKdump(source, { codecs: CODECS });
  assert.ok(read < 16384, `${read} bytes read at opening`);
  assert.equal(vmcore.presence(2 ** 27), 'absent');
  assert.deepEqual([...vmcore.walkPages(2 ** 28 - 64)], []);
  assert.ok(read < 2 ** 26, `${read} bytes read`);
});
