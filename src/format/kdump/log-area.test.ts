import assert from 'node:assert/strict';
import test from 'node:test';
import { DeviceBuilder, memoryDevice } from '../../../test/support/device-builder.ts';
import { DumpError } from '../../base/errors.ts';
import { seededRandom } from '../../base/random.ts';
import { type Label, readLabel } from './label.ts';
import {
  clearLogArea,
  decodeLogAreaHeader,
  encodeLogAreaHeader,
  type LogAreaHeader,
  planLogArea,
  readLogArea,
} from './log-area.ts';

const MEMORY = [
  { name: 'printk_rb_static', vaddr: 0xffffffff82a00100n, paddr: 0x2a00100, length: 0x60 },
  { name: '__log_buf', vaddr: 0xffffffff82b00000n, paddr: 0x2b00000, length: 0x20000 },
];
const AREA = 2 << 20;

function header(): LogAreaHeader {
  return {
    armId: Uint8Array.from({ length: 16 }, (_, i) => i),
    pageSize: 4096,
    release: '6.12.0-test',
    vmcoreinfo: new TextEncoder().encode('OSRELEASE=6.12.0-test\n'),
    armedMs: 1_790_000_000_000,
    ranges: planLogArea(MEMORY, 4096, AREA),
  };
}

test('memory is placed in whole pages behind the header', () => {
  assert.deepEqual(planLogArea(MEMORY, 4096, AREA), [
    { name: 'printk_rb_static', vaddr: 0xffffffff82a00000n, paddr: 0x2a00000, length: 4096, offset: 65536 },
    { name: '__log_buf', vaddr: 0xffffffff82b00000n, paddr: 0x2b00000, length: 0x20000, offset: 69632 },
  ]);
  assert.throws(() => planLogArea(MEMORY, 4096, 131072), {
    code: 'LOG_AREA_TOO_SMALL',
    data: { required: 262144, areaBytes: 131072 },
  });
  assert.throws(() => planLogArea([{ name: 'x', vaddr: 5n, paddr: 4096, length: 1 }], 4096, AREA), {
    code: 'LOG_AREA_RANGES',
  });
});

test('a header reads back; a damaged one is named; none is none', () => {
  const bytes = encodeLogAreaHeader(header());
  assert.equal(bytes.length % 4096, 0);
  assert.deepEqual(decodeLogAreaHeader(bytes, AREA), header());
  assert.equal(decodeLogAreaHeader(new Uint8Array(4096), AREA), undefined);
  bytes[100]! ^= 1;
  assert.throws(() => decodeLogAreaHeader(bytes, AREA), { code: 'LOG_AREA' });
  assert.throws(() => encodeLogAreaHeader({ ...header(), vmcoreinfo: new Uint8Array(65536) }), {
    code: 'LOG_AREA_HEADER',
  });
});

test('an area smaller than its ranges is refused', () => {
  assert.throws(() => decodeLogAreaHeader(encodeLogAreaHeader(header()), 131072), /does not fit 131072 bytes/);
});

test('what the fallback wrote is read by virtual and by physical address, then cleared', () => {
  const builder = new DeviceBuilder({ logAreaBytes: AREA, size: 8 << 20 });
  builder.label('inUse');
  const device = memoryDevice(builder.image);
  const { identity } = readLabel(device).label as Label;
  assert.equal(readLogArea(device, identity), undefined);
  const at = identity.capacity;
  const ring = Uint8Array.from({ length: 0x20000 }, (_, i) => i * 7);
  builder.image.set(ring, at + 69632);
  builder.image.set(encodeLogAreaHeader(header()), at);
  const log = readLogArea(device, identity);
  assert.ok(log);
  assert.deepEqual(log.header, header());
  const target = new Uint8Array(1000);
  assert.equal(log.readVirtual(0xffffffff82b01001n, target), true);
  assert.deepEqual(target, ring.subarray(0x1001, 0x1001 + 1000));
  assert.equal(log.readPhysical(0x2b01001, target), true);
  assert.equal(log.readVirtual(0xffffffff82b1fff0n, target), false);
  assert.equal(log.readPhysical(0x5000000, target), false);
  clearLogArea(device, identity);
  assert.equal(readLogArea(device, identity), undefined);
});

test('any bytes: a header or a DumpError', () => {
  const good = encodeLogAreaHeader(header());
  const random = seededRandom(99);
  for (let round = 0; round < 2000; round++) {
    const bytes = good.slice();
    for (let i = 0; i < 1 + (round % 8); i++) bytes[8 + (random.u32() % 600)] = random.u32();
    // With a checksum that holds, so that the checks behind it are met.
    const forged = round % 2 === 0 ? () => new DataView(bytes.buffer).getUint32(188, true) : undefined;
    try {
      decodeLogAreaHeader(bytes, AREA, 0, forged);
    } catch (error) {
      assert.ok(error instanceof DumpError);
    }
  }
});
