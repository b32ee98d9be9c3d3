import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UsageError } from '../base/errors.ts';
import { parseStage1Config, STAGE1_SCHEMA } from './config.ts';

const UUID = '01020304-0506-0708-090a-0b0c0d0e0f10';
const device = { path: '/dev/vdb', uuid: UUID, id: { serial: 'S', wwid: '', bus: 'b', start: 0, size: 1048576 } };
const text = (change: object): string => JSON.stringify({ schema: STAGE1_SCHEMA, devices: [device], ...change });

test('what is not said has its default', () => {
  assert.deepEqual(parseStage1Config(text({})), {
    schema: STAGE1_SCHEMA,
    machineName: '',
    machineId: '',
    devices: [device],
    compress: 'none',
    deviceWaitMs: 20_000,
    deviceTimeoutMs: 30_000,
    armedDigest: '',
    vmcore: '/proc/vmcore',
  });
});

test('what is said counts', () => {
  const said = {
    compress: 'zstd',
    deviceWaitMs: 1,
    deviceTimeoutMs: 2,
    armedDigest: 'ab'.repeat(32),
    machineId: 'cd'.repeat(16),
  };
  const config = parseStage1Config(text({ ...said, machineName: 'host', vmcore: '/x', later: true }));
  assert.deepEqual({ ...config, ...said }, config);
});

for (const [name, change, found] of [
  ['another schema', { schema: 'x/1' }, /schema is "x\/1"/],
  ['no list of devices', { devices: {} }, /devices is \{\}/],
  ['too many devices', { devices: Array(17).fill(device) }, /at most 16/],
  ['a device that is none', { devices: [7] }, /devices\[0\] is 7, expected an object/],
  ['a device without its id', { devices: [{ ...device, id: undefined }] }, /devices\[0\]\.id is absent/],
  ['a UUID that is none', { devices: [{ ...device, uuid: 'x' }] }, /uuid is "x", expected a UUID/],
  ['a size that is none', { devices: [{ ...device, id: { ...device.id, size: -1 } }] }, /size is -1/],
  ['a codec that is none', { compress: 'lz4' }, /compress is "lz4"/],
  ['a time that is none', { deviceWaitMs: 'soon' }, /deviceWaitMs is "soon"/],
  ['a digest that is none', { armedDigest: 'zz' }, /armedDigest is "zz", expected 64 hex digits/],
] as const) {
  test(`${name} is refused`, () => {
    assert.throws(
      () => parseStage1Config(text(change)),
      (error) => error instanceof UsageError && error.code === 'STAGE1_CONFIG' && found.test(error.message),
    );
  });
}

test('text that is no JSON is refused', () => {
  assert.throws(() => parseStage1Config('{'), UsageError);
  assert.throws(() => parseStage1Config('[]'), /expected an object/);
});
