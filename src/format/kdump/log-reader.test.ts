import assert from 'node:assert/strict';
import test from 'node:test';
import {
  BUILT,
  type BuilderOptions,
  badSector,
  DeviceBuilder,
  memoryDevice,
  pagesOf,
} from '../../../test/support/device-builder.ts';
import { crc32 } from '../../base/crc32.ts';
import { hexBytes } from '../../base/hex.ts';
import { seededRandom } from '../../base/random.ts';
import { bytesSource } from '../../base/source.ts';
import { nodeCodecs } from '../../host/codecs.ts';
import { holdsDump, type LogState, listGenerations, type RecoverOptions, recoverLog } from './log-reader.ts';

const scopeOf = (builder: DeviceBuilder) => ({
  dumpUuid: builder.dumpUuid,
  part: 1,
  dataEnd: builder.capacity,
});

function recover(builder: DeviceBuilder, options: RecoverOptions = {}): LogState {
  return recoverLog(bytesSource(builder.image), scopeOf(builder), { codecs: nodeCodecs(), ...options });
}

/** Two passes; generations after the first, inside the second, and last; chunks and an index between. */
function wholeLog(options: BuilderOptions = {}) {
  const builder = new DeviceBuilder(options);
  const at: Record<string, number> = {};
  builder.label('inUse');
  at.start = builder.start();
  at.chunk0 = builder.chunk(0, pagesOf(0, 8));
  at.index0 = builder.index(0);
  const first = builder.generation();
  at.generation1 = first.offset;
  at.chunk1 = builder.chunk(1, pagesOf(8, 20));
  at.chunk2 = builder.chunk(1, pagesOf(20, 32));
  at.index1 = builder.index(1);
  const second = builder.generation();
  at.generation2 = second.offset;
  at.chunk3 = builder.chunk(1, pagesOf(32, 50));
  at.index2 = builder.index(1);
  at.chunk4 = builder.chunk(1, pagesOf(50, 64));
  at.index3 = builder.index(1);
  const last = builder.generation({ last: true });
  at.generation3 = last.offset;
  return { builder, at, first, second, last };
}

test('an empty device, and one with a start record alone, hold nothing', () => {
  const builder = new DeviceBuilder();
  const empty = recover(builder);
  assert.equal(empty.start, undefined);
  assert.equal(empty.startProblem, 'no start record');
  assert.equal(empty.end, 262144);
  assert.equal(holdsDump(empty), false);
  builder.start();
  const started = recover(builder);
  assert.equal(started.start?.record.maxMapnr, 64);
  assert.equal(started.start?.record.utsname.release, '6.12.0-test');
  assert.equal(started.end, builder.end);
  assert.equal(holdsDump(started), false);
});

test('a start record of another dump, or of another part, is not this one', () => {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(0, 5));
  for (const other of [{ dumpUuid: builder.dumpUuid.map((byte) => byte ^ 1) }, { part: 2 }]) {
    const state = recoverLog(bytesSource(builder.image), { ...scopeOf(builder), ...other });
    assert.equal(state.startProblem, 'the start record is of another dump');
    assert.equal(state.start, undefined);
    assert.equal(holdsDump(state), false);
  }
});

test('before the first generation: start and whole chunks', () => {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(0, 5));
  const state = recover(builder);
  assert.equal(holdsDump(state), true);
  assert.equal(state.pagesBehind, 5);
  assert.deepEqual(state.passes, [
    { stored: 5, indexes: 0, lastPfn: 4 },
    { stored: 0, indexes: 0, lastPfn: undefined },
  ]);
  assert.equal(state.loose.count, 5);
  assert.equal(state.end, builder.end);
});

test('the generation that block 0 names, and what lies behind it', () => {
  const { builder, at, second } = wholeLog();
  builder.blockZero(second.bitmap1);
  builder.image.fill(0, at.generation3);
  const state = recover(builder);
  assert.equal(state.generationFoundBy, 'block0');
  assert.equal(state.generation?.header.offset, at.generation2);
  assert.equal(state.indexesInGeneration, 2);
  assert.equal(state.indexes.length, 4);
  assert.equal(state.pagesBehind, 32);
  assert.equal(state.loose.count, 0);
  assert.equal(state.end, at.generation3);
  assert.equal(state.previousIndex, at.index3);
  assert.equal(state.previousGeneration, at.generation2);
  assert.deepEqual(state.passes, [
    { stored: 8, indexes: 1, lastPfn: 7 },
    { stored: 56, indexes: 3, lastPfn: 63 },
  ]);
});

test('between a generation and block 0, and with block 0 torn: the newest is found by walking', () => {
  const { builder, at, second } = wholeLog();
  builder.blockZero(second.bitmap1);
  for (const head of [undefined, 0, 0x5a]) {
    if (head !== undefined) builder.image.fill(head, 0, 512);
    const state = recover(builder);
    assert.equal(state.generation?.header.offset, at.generation3);
    assert.equal(state.generationFoundBy, 'walk');
    assert.equal(state.generation?.header.last, true);
    assert.equal(state.endReason, undefined);
    assert.deepEqual(state.damage, []);
  }
});

test('a generation cut while it was flushed: the older one and the good records behind it', () => {
  const { builder, at, second, last } = wholeLog();
  builder.blockZero(second.bitmap1);
  const places = [at.generation3!, at.generation3! + 130, last.bitmap1, last.bitmap1 + 4096, last.bitmap1 + 8192];
  for (const place of places) {
    const [byte] = builder.image.subarray(place, place + 1);
    builder.image[place]! ^= 1;
    for (const keepBlockZero of [true, false]) {
      const copy = { ...scopeOf(builder) };
      const image = builder.image.slice();
      if (!keepBlockZero) image.fill(0, 0, 512);
      const state = recoverLog(bytesSource(image), copy);
      assert.equal(state.generation?.header.offset, at.generation2, `place ${place}`);
      assert.equal(state.pagesBehind, 32);
      assert.equal(state.end, at.generation3);
    }
    builder.image[place] = byte!;
  }
});

test('records behind the newest generation count up to the first gap', () => {
  const { builder, at, second } = wholeLog();
  builder.blockZero(second.bitmap1);
  builder.image.fill(0, at.generation3);
  builder.image[at.chunk4!]! ^= 1;
  const state = recover(builder);
  assert.equal(state.end, at.chunk4);
  assert.equal(state.pagesBehind, 18);
  assert.match(state.endReason ?? '', /no record header/);
});

test('a gap with a whole generation behind it is damage', () => {
  const { builder, at } = wholeLog();
  builder.image[at.chunk1!]! ^= 1;
  const state = recover(builder);
  assert.equal(state.generation?.header.offset, at.generation3);
  assert.equal(state.damage.length, 1);
  assert.equal(state.damage[0]?.start, at.chunk1);
});

test('a damaged start record does not hide the generations', () => {
  const { builder, at, second } = wholeLog();
  builder.image[at.start! + 200]! ^= 1;
  assert.equal(recover(builder).generation?.header.offset, at.generation3);
  assert.equal(recover(builder).start, undefined);
  builder.image[at.start!]! ^= 1;
  assert.equal(recover(builder).generation?.header.offset, at.generation3);
  builder.blockZero(second.bitmap1);
  assert.equal(recover(builder).generation?.header.offset, at.generation3);
});

test('the walk ends at the first record of another dump', () => {
  const stale = wholeLog({ dumpUuid: BUILT.uuid });
  stale.builder.image.copyWithin(0, 0);
  const fresh = new DeviceBuilder();
  fresh.image.set(stale.builder.image);
  fresh.start();
  fresh.chunk(0, pagesOf(0, 8));
  fresh.index(0);
  const state = recover(fresh);
  assert.equal(state.generation, undefined);
  assert.equal(state.pagesBehind, 8);
  assert.match(state.endReason ?? '', /another dump|no record header/);
  assert.equal(state.end, fresh.end);
});

test('a page that was torn in the last chunk ends the log before it, when loose pages are proved', () => {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(0, 4));
  const torn = builder.chunk(0, pagesOf(4, 8));
  builder.image.fill(0, builder.end - 4096, builder.end);
  assert.equal(recover(builder).pagesBehind, 8);
  for (const prove of ['loose', 'pages'] as const) {
    const state = recover(builder, { prove });
    assert.equal(state.pagesBehind, 4, prove);
    assert.equal(state.end, torn);
    assert.match(state.endReason ?? '', /checksum|zlib|inflate|page/);
  }
});

test('an index behind a torn chunk is forgotten with it, whichever base the walk had', () => {
  const { builder, at, first } = wholeLog();
  builder.blockZero(first.bitmap1);
  builder.image.fill(0, at.generation2);
  const whole = recover(builder, { prove: 'pages' });
  assert.equal(whole.indexes.length, 2);
  builder.image[at.chunk2! + 4096 + 5]! ^= 1;
  const cut = recover(builder, { prove: 'pages' });
  assert.equal(cut.end, at.chunk2);
  assert.equal(cut.indexes.length, 1);
  builder.image.fill(0, at.index1);
  const loose = recover(builder, { prove: 'loose' });
  assert.equal(loose.end, at.chunk2);
  assert.equal(loose.indexes.length, 1);
  assert.equal(loose.generation?.record.indexes.length, 1);
});

test('a chunk of another pass behind an index, torn: the index stays', () => {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(0, 8));
  const first = builder.generation();
  builder.blockZero(first.bitmap1);
  builder.chunk(1, pagesOf(8, 16));
  builder.index(1);
  const torn = builder.chunk(1, pagesOf(16, 20));
  builder.image.fill(0, builder.end - 4096, builder.end);
  const state = recover(builder, { prove: 'loose' });
  assert.equal(state.end, torn);
  assert.equal(state.indexes.length, 1);
  assert.equal(state.generation?.record.indexes.length, 0);
  assert.deepEqual(state.passes[1], { stored: 8, indexes: 1, lastPfn: 15 });
});

test('a long log is not walked chunk by chunk: its index records say what is there', () => {
  for (const withGeneration of [true, false]) {
    const builder = longLog(withGeneration);
    let reads = 0;
    const counted = { ...bytesSource(builder.image), readInto: counting(builder.image, () => reads++) };
    const walked = recoverLog(counted, scopeOf(builder));
    const walkReads = reads;
    reads = 0;
    const jumped = recoverLog(counted, scopeOf(builder), { jumpAfter: 8 });
    assert.equal(walked.jumped, false);
    assert.equal(jumped.jumped, true);
    assert.ok(reads < walkReads / 3, `${reads} reads, ${walkReads} to walk`);
    assert.deepEqual(jumped.passes, walked.passes);
    assert.equal(jumped.pagesBehind, walked.pagesBehind);
    assert.equal(jumped.end, walked.end);
    assert.equal(jumped.endReason, walked.endReason);
    assert.equal(jumped.loose.count, walked.loose.count);
    assert.equal(jumped.indexes.length, walked.indexes.length);
    for (let i = 0; i < walked.indexes.length; i++) assert.equal(jumped.indexes.offset(i), walked.indexes.offset(i));
  }
});

/** 160 MiB of chunks with four pages each, an index for each 200. */
function longLog(withGeneration: boolean): DeviceBuilder {
  const builder = new DeviceBuilder({
    size: 192 << 20,
    ranges: [[0, 60_000]],
    passes: [{ name: 'rest', planned: 60_000 }],
  });
  builder.start();
  const page = new Uint8Array(4096).fill(7);
  if (withGeneration) builder.chunk(0, [{ pfn: 0, bytes: page }]);
  if (withGeneration) builder.index(0);
  if (withGeneration) builder.blockZero(builder.generation().bitmap1);
  for (let pfn = 1; builder.end < 160 << 20; pfn += 4) {
    builder.chunk(
      0,
      [0, 1, 2, 3].map((i) => ({ pfn: pfn + i, bytes: page })),
    );
    if (pfn % 800 === 1) builder.index(0);
  }
  return builder;
}

function counting(image: Uint8Array, count: () => void) {
  const { readInto } = bytesSource(image);
  return (target: Uint8Array, offset: number): number => {
    count();
    return readInto(target, offset);
  };
}

test('pages under an index are proved when all are', () => {
  const builder = new DeviceBuilder();
  builder.start();
  const chunk = builder.chunk(0, pagesOf(0, 8));
  builder.index(0);
  builder.chunk(1, pagesOf(8, 12));
  builder.image[chunk + 4096 + 5]! ^= 1;
  assert.equal(recover(builder, { prove: 'loose' }).pagesBehind, 12);
  const state = recover(builder, { prove: 'pages' });
  assert.equal(state.pagesBehind, 0);
  assert.equal(state.end, chunk);
});

test('left over from before a restart: a chunk with a wrong sequence or predecessor ends the log', () => {
  const builder = new DeviceBuilder();
  builder.start();
  builder.chunk(0, pagesOf(0, 4));
  const stale = new DeviceBuilder();
  stale.start();
  stale.chunk(0, pagesOf(0, 4));
  stale.sequence += 3;
  const offset = stale.chunk(0, pagesOf(4, 8));
  builder.image.set(stale.image.subarray(offset, stale.end), offset);
  const state = recover(builder);
  assert.equal(state.pagesBehind, 4);
  assert.match(state.endReason ?? '', /left over/);
});

test('a bad sector is a gap, not an end of the world; at the start record it is no absence', () => {
  const { builder, at } = wholeLog();
  const deviceWith = (bad: number) =>
    memoryDevice(builder.image, {
      before: (operation, offset, length) => {
        if (operation === 'read' && offset <= bad && bad < offset + length) throw badSector(operation, bad);
      },
    });
  const damaged = recoverLog(deviceWith(at.chunk1!), scopeOf(builder));
  assert.equal(damaged.generation?.header.offset, at.generation3);
  assert.match(damaged.damage[0]?.what ?? '', /injected/);
  const inPages = recoverLog(deviceWith(at.chunk1! + 8192), scopeOf(builder));
  assert.equal(inPages.generation?.header.offset, at.generation3);
  assert.deepEqual(inPages.damage, []);
  const fresh = new DeviceBuilder();
  fresh.start();
  const device = memoryDevice(fresh.image, {
    before: (operation, offset) => {
      if (operation === 'read' && offset >= 262144) throw badSector(operation, offset);
    },
  });
  const unknown = recoverLog(device, scopeOf(fresh));
  assert.equal(unknown.startUnreadable, true);
  assert.equal(holdsDump(unknown), true);
});

test('body of the hinted generation is proved on demand', () => {
  const { builder, at, last } = wholeLog();
  builder.blockZero(last.bitmap1);
  assert.equal(recover(builder, { verify: true }).generation?.header.offset, at.generation3);
  builder.image[last.bitmap1 + 8192 + 3]! ^= 1;
  assert.equal(recover(builder).generation?.header.offset, at.generation3);
  const state = recover(builder, { verify: true });
  assert.equal(state.generation?.header.offset, at.generation2);
  assert.match(state.damage[0]?.what ?? '', /descriptors/);
});

test('generations are listed newest first', () => {
  const { builder, at, last } = wholeLog();
  builder.blockZero(last.bitmap1);
  const state = recover(builder);
  assert.deepEqual(listGenerations(bytesSource(builder.image), state, { ...scopeOf(builder), crc: crc32 }), [
    at.generation3,
    at.generation2,
    at.generation1,
  ]);
});

test('pages of 16 and 64 KiB', () => {
  for (const pageSize of [16384, 65536]) {
    const { builder, at, last } = wholeLog({ pageSize, size: 16 << 20 });
    builder.blockZero(last.bitmap1);
    assert.equal(recover(builder).generation?.header.offset, at.generation3);
    builder.image.fill(0, 0, 512);
    assert.equal(recover(builder).generation?.header.offset, at.generation3);
    assert.equal(recover(builder).pageSize, pageSize);
  }
});

test('any bytes: recovery ends, and never finds more than was written', () => {
  const { builder, last } = wholeLog();
  builder.blockZero(last.bitmap1);
  const random = seededRandom(20261121);
  for (let round = 0; round < 300; round++) {
    const image = builder.image.slice();
    const flips = 1 + (random.u32() % 40);
    for (let i = 0; i < flips; i++) image[262144 + (random.u32() % (builder.end - 262144))]! ^= 1 << (random.u32() & 7);
    if (round % 2 === 0) image.fill(0, 0, 512);
    const state = recoverLog(bytesSource(image), scopeOf(builder), {
      prove: round % 3 === 0 ? 'pages' : 'lists',
      codecs: nodeCodecs(),
    });
    assert.ok(state.end <= builder.end, `round ${round}`);
    assert.ok(hexBytes(state.dumpUuid).length === 32);
  }
});
