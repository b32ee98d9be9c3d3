import assert from 'node:assert/strict';
import test from 'node:test';
import { BUILT, badSector, DeviceBuilder, memoryDevice } from '../../../test/support/device-builder.ts';
import { UnsupportedError } from '../../base/errors.ts';
import {
  checkIdentity,
  encodeLabelCopy,
  type Label,
  planGeometry,
  readLabel,
  readyLabel,
  writeLabelState,
} from './label.ts';

const SIZE = 4 << 20;
const END = SIZE - 65536;

function labelled(state: Parameters<DeviceBuilder['label']>[0] = 'ready'): Uint8Array {
  const builder = new DeviceBuilder({ size: SIZE });
  builder.label(state);
  return builder.image;
}

test('geometry: counted in 64 KiB, capacity without labels and log area, data to 8 TiB', () => {
  assert.deepEqual(planGeometry(100 * 2 ** 20 + 5000), {
    countedSize: 100 * 2 ** 20,
    capacity: 100 * 2 ** 20 - 65536 - 16 * 2 ** 20,
    dataEnd: 100 * 2 ** 20 - 65536 - 16 * 2 ** 20,
    logAreaOffset: 100 * 2 ** 20 - 65536 - 16 * 2 ** 20,
    logAreaBytes: 16 * 2 ** 20,
    labelOffset: 100 * 2 ** 20 - 65536,
  });
  assert.equal(planGeometry(16 * 2 ** 40).dataEnd, 8 * 2 ** 40);
});

test('a device too small is refused with the size needed', () => {
  assert.throws(() => planGeometry(65536), { code: 'DEVICE_TOO_SMALL', data: { size: 65536, required: 17170432 } });
  assert.throws(() => planGeometry(0, { logAreaBytes: 0 }), { code: 'DEVICE_TOO_SMALL' });
  assert.throws(() => planGeometry(2 ** 30, { logAreaBytes: 1000 }), { code: 'LOG_AREA_SIZE' });
});

test('a built label reads back, field by field', () => {
  const image = labelled('inUse');
  const { label, problems, copies } = readLabel(memoryDevice(image));
  assert.deepEqual(problems, []);
  assert.deepEqual(copies, [1, 2]);
  assert.deepEqual(label?.identity.uuid, BUILT.uuid);
  assert.equal(label?.identity.deviceSize, SIZE);
  assert.equal(label?.identity.sampleRate, 8);
  assert.equal(label?.state.state, 'inUse');
  assert.deepEqual(label?.state.dumpUuid, BUILT.dumpUuid);
  assert.deepEqual(label?.state.bootId, BUILT.bootId);
  assert.deepEqual(encodeLabelCopy(label as Label), image.subarray(END, END + 8192));
});

test('no label: no problem either', () => {
  assert.deepEqual(readLabel(memoryDevice(new Uint8Array(SIZE))), { problems: [], copies: [] });
  assert.equal(readLabel(memoryDevice(new Uint8Array(65536))).label, undefined);
});

test('every state survives the loss of either copy, in either block', () => {
  for (const state of ['ready', 'inUse', 'ended', 'complete', 'saved'] as const) {
    for (const at of [0, 4096, 32768, 36864]) {
      const image = labelled(state);
      image.fill(0x5a, END + at + 100, END + at + 512);
      const { label, problems } = readLabel(memoryDevice(image));
      assert.equal(label?.state.state, state);
      assert.equal(problems.length, 1);
    }
  }
});

test('identity of one copy and state of the other still make a label', () => {
  const image = labelled('complete');
  image.fill(0, END, END + 512);
  image.fill(0, END + 36864, END + 37376);
  assert.equal(readLabel(memoryDevice(image)).label?.state.state, 'complete');
});

test('the higher good counter rules, in whichever copy', () => {
  for (const copies of [[0], [32768]]) {
    const builder = new DeviceBuilder({ size: SIZE });
    builder.label('inUse', { counter: 7 });
    builder.label('complete', { counter: 8, copies });
    assert.equal(readLabel(memoryDevice(builder.image)).label?.state.state, 'complete');
  }
});

test('the third copy counts only when it says ready and the others are gone', () => {
  const builder = new DeviceBuilder({ size: SIZE });
  builder.label('saved', { counter: 3 });
  builder.identity(8192);
  builder.state(12288, 'ready', 9);
  assert.equal(readLabel(memoryDevice(builder.image)).label?.state.state, 'saved');
  builder.image.fill(0, END);
  assert.equal(readLabel(memoryDevice(builder.image)).label?.state.state, 'ready');
  builder.state(12288, 'complete', 9);
  assert.equal(readLabel(memoryDevice(builder.image)).label, undefined);
});

test('a label of another place, size, block or disk is named', () => {
  const image = labelled();
  const { label } = readLabel(memoryDevice(image)) as { label: Label };
  assert.equal(checkIdentity(label, memoryDevice(image)), undefined);
  assert.match(checkIdentity(label, memoryDevice(image, { start: 1048576 })) ?? '', /lies on the wrong device/);
  assert.match(checkIdentity(label, memoryDevice(image, { blockSize: 4096 })) ?? '', /blocks of 512/);
  const other = { identity: { ...label.identity, deviceSize: SIZE * 2 } };
  assert.match(checkIdentity(other, memoryDevice(image)) ?? '', /resized/);
  const serial = { identity: { ...label.identity, serial: 'A1' } };
  assert.equal(checkIdentity(serial, memoryDevice(image, { serial: 'A1' })), undefined);
  assert.match(checkIdentity(serial, memoryDevice(image, { serial: 'B2' })) ?? '', /copy of another disk/);
});

test('a partition that ends where its disk does: the disk shows the label of the partition', () => {
  const image = labelled();
  const disk = new Uint8Array(2 * SIZE);
  disk.set(image, SIZE);
  const { label } = readLabel(memoryDevice(disk)) as { label: Label };
  assert.match(checkIdentity(label, memoryDevice(disk)) ?? '', /wrong device/);
});

test('a state is written to copy 1, flushed, then to copy 2, flushed; one good copy stands', () => {
  const image = labelled();
  const log: string[] = [];
  const device = memoryDevice(image, { before: (operation, offset) => log.push(`${operation} ${offset - END}`) });
  const { label } = readLabel(device) as { label: Label };
  log.length = 0;
  const next = writeLabelState(device, label, { state: 'complete' });
  assert.deepEqual(log, ['write 4096', `flush ${-END}`, 'write 36864', `flush ${-END}`]);
  assert.equal(next.state.counter, label.state.counter + 1);
  for (const bad of [4096, 36864]) {
    const half = memoryDevice(image, {
      before: (operation, offset) => {
        if (operation === 'write' && offset === END + bad) throw badSector(operation, offset);
      },
    });
    const current = readLabel(half).label as Label;
    writeLabelState(half, current, { state: 'saved' });
    assert.equal(readLabel(half).label?.state.counter, current.state.counter + 1);
  }
  const dead = memoryDevice(image, {
    before: (operation, offset) => {
      if (operation === 'write') throw badSector(operation, offset);
    },
  });
  assert.throws(() => writeLabelState(dead, next, { state: 'saved' }), { code: 'DEVICE_IO' });
});

test('a change torn at any sector leaves the old state or the new one', () => {
  const before = labelled('inUse');
  const after = before.slice();
  const device = memoryDevice(after);
  writeLabelState(device, readLabel(device).label as Label, { state: 'complete' });
  for (let cut = 0; cut <= 65536; cut += 512) {
    const torn = before.slice();
    torn.set(after.subarray(END, END + cut), END);
    const state = readLabel(memoryDevice(torn)).label?.state.state;
    assert.ok(state === 'inUse' || state === 'complete', `cut ${cut}: ${state}`);
  }
});

test('devices with large blocks keep what lies beside a copy', () => {
  for (const blockSize of [4096, 16384, 65536]) {
    const image = labelled();
    const device = memoryDevice(image, { blockSize });
    const { label } = readLabel(device) as { label: Label };
    writeLabelState(device, label, { state: 'inUse', dumpUuid: BUILT.dumpUuid, part: 1 });
    const reading = readLabel(device);
    assert.equal(reading.label?.state.state, 'inUse');
    assert.deepEqual(reading.copies, [1, 2]);
  }
});

test('a later layout version is named, and a device that fails everywhere throws', () => {
  const image = labelled();
  for (const at of [END, END + 32768]) {
    image[at + 8] = 2;
    const view = new DataView(image.buffer, at, 512);
    view.setUint32(508, crcOf(image.subarray(at, at + 508)), true);
  }
  assert.throws(() => readLabel(memoryDevice(image)), UnsupportedError);
  const dead = memoryDevice(image, {
    before: (operation, offset) => {
      throw badSector(operation, offset);
    },
  });
  assert.throws(() => readLabel(dead), { code: 'DEVICE_IO' });
});

test('a serial is kept to 63 characters and still fits its disk', () => {
  const identity = { ...(readLabel(memoryDevice(labelled())).label as Label).identity, serial: 'S'.repeat(100) };
  const copy = encodeLabelCopy(readyLabel(identity, 1, 0));
  const image = labelled();
  image.set(copy, END);
  image.set(copy, END + 32768);
  const device = memoryDevice(image, { serial: 'S'.repeat(100) });
  assert.equal(checkIdentity(readLabel(device).label as Label, device), undefined);
});

function crcOf(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
