import assert from 'node:assert/strict';
import test from 'node:test';
import { badSector, DeviceBuilder, memoryDevice, pagesOf } from '../../../test/support/device-builder.ts';
import type { DumpDevice } from '../../base/device.ts';
import { DeviceError } from '../../base/errors.ts';
import { bytesSource } from '../../base/source.ts';
import { nodeCodecs, nodeCrc32 } from '../../host/codecs.ts';
import { type FormatOptions, formatDevice, planFormat, reformatDevice } from './device-format.ts';
import { formatTotalBlocks, fullBytes, requiredBytes, shortfallBytes, totalBlocks } from './device-size.ts';
import { describeDevice } from './device-state.ts';
import { openDeviceDump } from './device-vmcore.ts';
import { type Label, readLabel, writeLabelState } from './label.ts';
import { checkSignatures } from './signature.ts';

const SIZE = 4 << 20;
const UUID = Uint8Array.from({ length: 16 }, (_, i) => 0x40 + i);
const OPTIONS: FormatOptions = { uuid: UUID, nowMs: 1_790_000_000_000, logAreaBytes: 65536 };
const GIB = 2 ** 30;

function format(device: DumpDevice, change: Partial<FormatOptions> = {}): Label {
  return formatDevice(device, planFormat(device, { ...OPTIONS, ...change }), { crc: nodeCrc32 });
}

test('a formatted device is ready, its identity fits, its signatures hold', () => {
  for (const change of [
    {},
    { full: true },
    { full: true, sampleRate: 0 },
    { signatureAdd: 3 as const },
    { sampleRate: 3 },
  ]) {
    for (const blockSize of [512, 4096, 65536]) {
      const image = new Uint8Array(SIZE).fill(0xee);
      const device = memoryDevice(image, { blockSize, start: 4096 * 3, serial: 'S1' });
      const label = format(device, change);
      const reading = readLabel(device);
      assert.deepEqual(reading.label, label);
      assert.deepEqual(reading.copies, [1, 2, 3]);
      assert.equal(label.state.state, 'ready');
      assert.equal(checkSignatures(device, label), undefined);
      assert.equal(describeDevice(facts(image, reading)), 'ready');
    }
  }
});

test('only what is sampled is written', () => {
  const image = new Uint8Array(SIZE).fill(0xee);
  let writes = 0;
  const device = memoryDevice(image, { before: (operation) => (writes += operation === 'write' ? 1 : 0) });
  format(device, { sampleRate: 4 });
  assert.equal(writes, 16 + 7);
});

test('a bad signature names the block and what is there', () => {
  const image = new Uint8Array(SIZE);
  const device = memoryDevice(image);
  const label = format(device, { full: true, sampleRate: 0 });
  image.fill(0, 4096, 8192);
  assert.match(checkSignatures(device, label)?.message ?? '', /^bad signature in block 1: zeros$/);
  image.set(new TextEncoder().encode('LABELONE'), 4096);
  assert.match(checkSignatures(device, label)?.message ?? '', /foreign data 'LABELONE'/);
  image.copyWithin(4096, 5 * 4096, 6 * 4096);
  assert.match(checkSignatures(device, label)?.message ?? '', /carries the signature of block 5/);
  const three = new Uint8Array(SIZE);
  format(memoryDevice(three), { full: true, sampleRate: 0, signatureAdd: 3 });
  image.set(three.subarray(4096, 8192), 4096);
  assert.match(checkSignatures(device, label)?.message ?? '', /made with \+3, the label says \+7/);
});

test('every lost sampled block is seen', () => {
  const image = new Uint8Array(SIZE);
  const device = memoryDevice(image);
  const label = format(device, { sampleRate: 5 });
  const clean = image.slice();
  let seen = 0;
  for (let at = 0; at < label.identity.capacity; at += 4096) {
    if (clean[at] !== 0x64 || at === 8192) continue;
    image.fill(1, at, at + 4096);
    assert.equal(checkSignatures(device, label)?.offset, at);
    image.set(clean.subarray(at, at + 4096), at);
    seen++;
  }
  assert.equal(seen, 32);
});

test('parameters and sizes that cannot be are refused before anything is written', () => {
  const device = memoryDevice(new Uint8Array(SIZE));
  assert.throws(() => planFormat(device, { ...OPTIONS, sampleRate: 0 }), { code: 'SAMPLE_RATE' });
  assert.throws(() => planFormat(device, { ...OPTIONS, sampleRate: -1 }), { code: 'SAMPLE_RATE' });
  assert.throws(() => planFormat(device, { ...OPTIONS, sampleRate: 17 }), { code: 'SAMPLE_RATE' });
  assert.throws(() => planFormat(device, { ...OPTIONS, blockOrder: 9 }), { code: 'BLOCK_ORDER' });
  assert.throws(() => planFormat(device, { ...OPTIONS, logAreaBytes: 16 << 20 }), { code: 'DEVICE_TOO_SMALL' });
  assert.throws(() => planFormat(device, { ...OPTIONS, requiredBytes: 8 << 20 }), {
    code: 'DEVICE_TOO_SMALL',
    data: { size: SIZE, required: 8 << 20 },
  });
});

test('a format cut at any write leaves no label, or one over signed blocks', () => {
  for (let cut = 0; ; cut++) {
    const old = new DeviceBuilder();
    old.label('ready');
    const image = old.image;
    let left = cut;
    const device = memoryDevice(image, {
      before: (operation, offset) => {
        if (operation === 'write' && left-- <= 0) throw badSector(operation, offset);
      },
    });
    let done = false;
    try {
      format(device, { sampleRate: 4 });
      done = true;
    } catch (error) {
      assert.ok(error instanceof DeviceError);
    }
    const reading = readLabel(memoryDevice(image));
    // The old label stands only while both of its copies are not yet erased; its blocks are still its own then.
    if (reading.label && cut > 1) {
      assert.equal(reading.label.identity.uuid[0], 0x40);
      assert.equal(checkSignatures(memoryDevice(image), reading.label), undefined);
    }
    if (done) break;
  }
});

/** A device with a saved dump. */
function savedDevice(): { image: Uint8Array; label: Label; heads: number[] } {
  const image = new Uint8Array(SIZE);
  format(memoryDevice(image));
  const builder = new DeviceBuilder({ passes: [{ name: 'rest', planned: 8 }] });
  builder.start();
  builder.chunk(0, pagesOf(0, 4));
  builder.index(0);
  const first = builder.generation();
  builder.chunk(0, pagesOf(4, 8));
  builder.index(0);
  const last = builder.generation({ last: true });
  builder.blockZero(last.bitmap1);
  image.set(builder.image.subarray(0, builder.end));
  const device = memoryDevice(image);
  const ready = readLabel(device).label as Label;
  const used = writeLabelState(device, ready, { state: 'complete', dumpUuid: builder.dumpUuid, part: 1 });
  assert.equal(openDeviceDump(bytesSource(image), { codecs: nodeCodecs() }).state, 'complete');
  const label = writeLabelState(device, used, { state: 'saved' });
  return { image, label, heads: [first.offset, last.offset] };
}

test('re-formatting: the old dump is gone, the UUID stays, the signatures hold', () => {
  for (const wipe of ['none', 'zero', 'discard'] as const) {
    const { image, label, heads } = savedDevice();
    const discarded: number[] = [];
    const device = memoryDevice(image);
    const ready = reformatDevice(device, label, {
      wipe,
      nowMs: 1,
      discard: (offset, length) => discarded.push(offset, length),
    });
    assert.equal(ready.state.state, 'ready');
    assert.deepEqual(readLabel(device).label, ready);
    assert.deepEqual(ready.identity.uuid, UUID);
    assert.equal(checkSignatures(device, ready), undefined);
    assert.notEqual(String.fromCharCode(...image.subarray(0, 5)), 'KDUMP');
    for (const head of heads) assert.notEqual(String.fromCharCode(...image.subarray(head, head + 8)), 'DDRECORD');
    assert.deepEqual(discarded, wipe === 'discard' ? [262144, ready.identity.capacity - 262144] : []);
  }
});

test('re-formatting cut at any write is made good by the next, and the state is never wrong', () => {
  for (let cut = 0; ; cut++) {
    const { image, label } = savedDevice();
    let left = cut;
    const device = memoryDevice(image, {
      before: (operation, offset) => {
        if (operation === 'write' && left-- <= 0) throw badSector(operation, offset);
      },
    });
    let done = false;
    try {
      reformatDevice(device, label, { wipe: 'zero', nowMs: 1 });
      done = true;
    } catch (error) {
      assert.ok(error instanceof DeviceError);
    }
    const whole = memoryDevice(image);
    const now = readLabel(whole).label as Label;
    if (now.state.state === 'ready') assert.equal(checkSignatures(whole, now), undefined);
    else {
      assert.equal(now.state.state, 'saved');
      assert.ok(blockZeroIsOurs(image));
      assert.equal(reformatDevice(whole, now, { wipe: 'none', nowMs: 2 }).state.state, 'ready');
    }
    if (done) break;
  }
});

test('a dump that nobody saved is not formatted away', () => {
  const { image, label } = savedDevice();
  const device = memoryDevice(image);
  for (const state of ['complete', 'ended', 'ready'] as const)
    assert.throws(
      () => reformatDevice(device, { ...label, state: { ...label.state, state } }, { wipe: 'none', nowMs: 1 }),
      {
        code: 'DEVICE_NOT_SAVED',
      },
    );
  const moved = { ...label, identity: { ...label.identity, start: 512 } };
  assert.throws(() => reformatDevice(device, moved, { wipe: 'none', nowMs: 1 }), { code: 'LABEL_MISPLACED' });
});

test('sizes: required, all of memory, the original line, the shortfall', () => {
  const machine = { pageSize: 4096, maxMapnr: 2 ** 18, pages: 2 ** 18 - 160, cpus: 4 };
  const shape = { blockSize: 512 };
  const required = requiredBytes(machine, shape);
  assert.equal(required % 65536, 0);
  assert.ok(required > 33 << 20 && required < 40 << 20, `${required}`);
  const full = fullBytes(machine, shape);
  assert.ok(full > GIB && full < 1.05 * GIB, `${full}`);
  const blocks = totalBlocks(machine, shape);
  assert.equal(blocks.total, blocks.header + blocks.bitmap + blocks.memory);
  assert.equal(blocks.memory, machine.pages);
  assert.equal(blocks.bitmap, 4 * 8);
  assert.match(
    formatTotalBlocks(blocks),
    /^disk_dump: total blocks required: \d+ \(header \d+ \+ bitmap 32 \+ memory 261984\)$/,
  );
  assert.equal(shortfallBytes(full, machine, shape), 0);
  assert.equal(shortfallBytes(full - 65536, machine, shape), 65536);
});

test('every state in the words of check', () => {
  const rows = [
    ['ready', {}, 'ready'],
    ['inUse', { sameBoot: true, holdsDump: true }, 'in-use'],
    ['inUse', { holdsDump: true }, 'partial'],
    ['inUse', {}, 'in-use'],
    ['ended', {}, 'partial'],
    ['complete', {}, 'complete'],
    ['saved', {}, 'saved'],
  ] as const;
  for (const [state, more, word] of rows) {
    const builder = new DeviceBuilder();
    builder.label(state);
    const reading = readLabel(memoryDevice(builder.image));
    assert.equal(describeDevice({ ...facts(builder.image, reading), ...more }), word);
  }
});

test('without a label: unformatted when nothing is there, else foreign', () => {
  const image = new Uint8Array(SIZE);
  const word = () => describeDevice(facts(image, readLabel(memoryDevice(image))));
  assert.equal(word(), 'unformatted');
  image.set(new TextEncoder().encode('diskdump'));
  assert.equal(word(), 'unformatted');
  image.set(new TextEncoder().encode('XFSB'));
  assert.equal(word(), 'foreign');
  const builder = new DeviceBuilder();
  builder.label('ready');
  builder.image.set(new TextEncoder().encode('XFSB'));
  const reading = readLabel(memoryDevice(builder.image));
  assert.equal(describeDevice({ ...facts(builder.image, reading), identityProblem: 'moved' }), 'foreign');
});

/** What stage 1 wants of a saved device: block 0 begins with a signature, a dump or zeros. */
function blockZeroIsOurs(image: Uint8Array): boolean {
  const head = String.fromCharCode(...image.subarray(0, 8));
  return head === 'diskdump' || head === 'KDUMP   ' || head === '\0'.repeat(8);
}

function facts(image: Uint8Array, reading: ReturnType<typeof readLabel>) {
  return { reading, head: image.subarray(0, 512), sameBoot: false, holdsDump: false };
}
