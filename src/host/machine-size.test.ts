import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/driver/scratch.ts';
import { plainMemory, readMachineMemory, readPageSize } from './machine-size.ts';

const IOMEM = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000a0000-000fffff : Reserved
00100000-3ffdffff : System RAM
  01000000-02ffffff : Kernel code
  2d000000-38ffffff : Crash kernel
100000000-13fffffff : System RAM
`;

test('memory is System RAM without what the capture kernel lives in', () => {
  const proc = scratchFolder();
  mkdirSync(join(proc, 'self'));
  writeFileSync(join(proc, 'iomem'), IOMEM);
  const { pages, maxMapnr, ranges, pageSize, from } = readMachineMemory(proc);
  assert.equal(from, 'iomem');
  assert.equal(pageSize, 4096);
  assert.equal(maxMapnr, 0x140000);
  assert.equal(ranges, 4);
  assert.equal(pages, 0x9f + (0x3ffe0 - 0x100) - 0xc000 + 0x40000);
});

test('addresses that are hidden leave the amount', () => {
  const proc = scratchFolder();
  writeFileSync(join(proc, 'iomem'), '00000000-00000000 : System RAM\n00000000-00000000 : System RAM\n');
  const { pages, maxMapnr, from } = readMachineMemory(proc);
  assert.equal(from, 'MemTotal');
  assert.ok(pages > 0 && maxMapnr >= pages);
});

test('a PC of some size has a hole below 4 GiB', () => {
  assert.deepEqual(plainMemory(2 ** 30, 4096), { pageSize: 4096, pages: 262144, maxMapnr: 262144, ranges: 8 });
  assert.equal(plainMemory(8 * 2 ** 30, 4096).maxMapnr, (9 * 2 ** 30) / 4096);
});

test('the size of a page is the machine’s own', () => {
  assert.ok([4096, 16384, 65536].includes(readPageSize()));
  assert.equal(readPageSize('/nonexistent'), 4096);
});
