import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NoDataError } from '../base/errors.ts';
import { MemoryReader, machinePages, missingReason, PagedMemory, TranslatedMemory } from './memory.ts';
import { findTimes } from './times.ts';
import { parseVmcoreinfo } from './vmcoreinfo.ts';

/** Page n is filled with n; every third is not there. */
function source(reads: number[] = []) {
  return {
    pageSize: 4096,
    readPage(pfn: number, target: Uint8Array): void {
      reads.push(pfn);
      if (pfn % 3 === 2) throw new NoDataError('PAGE_EXCLUDED', `pfn ${pfn} was excluded`);
      target.fill(pfn);
    },
  };
}

test('reads cross pages and stop at the first that is missing', () => {
  const memory = new PagedMemory(source());
  const bytes = new Uint8Array(4);
  memory.readPhysical(bytes, 4094);
  assert.deepEqual([...bytes], [0, 0, 1, 1]);
  assert.throws(
    () => memory.readPhysical(bytes, 2 * 4096 - 2),
    (error: unknown) => error instanceof NoDataError && missingReason(error) === 'excluded',
  );
});

test('a page is read once while it is in the cache, and the cache is bounded', () => {
  const reads: number[] = [];
  const memory = new PagedMemory(source(reads));
  const byte = new Uint8Array(1);
  for (let i = 0; i < 5; i++) memory.readPhysical(byte, 100);
  assert.deepEqual(reads, [0]);
  for (let i = 0; i < 300; i++) memory.readPhysical(byte, 3 * i * 4096);
  memory.readPhysical(byte, 0);
  assert.equal(reads.filter((pfn) => pfn === 0).length, 2);
  assert.equal(byte[0], 0);
});

test('a page that failed to be read is not taken for the one whose place it got', () => {
  const memory = new PagedMemory(source());
  const byte = new Uint8Array(1);
  memory.readPhysical(byte, 4096);
  for (let i = 0; i < 600; i++) assert.throws(() => memory.readPhysical(byte, 2 * 4096));
  memory.readPhysical(byte, 4096);
  assert.equal(byte[0], 1);
});

test('outside a machine there is no memory', () => {
  const pages = machinePages({
    pageSize: 4096,
    ranges: [{ start: 1, end: 2 }],
    read: (pfn, target) => target.fill(pfn),
  });
  const memory = new PagedMemory(pages);
  const byte = new Uint8Array(1);
  memory.readPhysical(byte, 4096);
  assert.equal(byte[0], 1);
  assert.throws(
    () => memory.readPhysical(byte, 0),
    (error: unknown) => error instanceof NoDataError && missingReason(error) === 'never captured',
  );
});

test('virtual reads follow the translation piece by piece, and errors name the address', () => {
  const physical = new PagedMemory(source());
  const memory = new TranslatedMemory(physical, (vaddr) => ({
    paddr: vaddr < 0x2000n ? Number(vaddr) + 0x3000 : 0,
    length: vaddr < 0x2000n ? Number(0x2000n - vaddr) : 4096,
  }));
  const bytes = new Uint8Array(2);
  memory.readVirtual(bytes, 0x1fffn);
  assert.deepEqual([...bytes], [4, 0]);
  const lost = new TranslatedMemory(physical, () => ({ paddr: 2 * 4096, length: 4096 }));
  assert.throws(
    () => new MemoryReader(lost).u64(0xffff0000n),
    /reading 8 bytes at vaddr 0xffff0000: pfn 2 was excluded/,
  );
});

test('the boot time counts back from the crash, else from the date of the dump', () => {
  const vmcoreinfo = parseVmcoreinfo(Buffer.from('CRASHTIME=1000\n'));
  const none = parseVmcoreinfo(new Uint8Array(0));
  const lastStampNs = 99_900_000_000n;
  assert.deepEqual(findTimes({ vmcoreinfo, headerSeconds: 5000, lastStampNs }), {
    crashTimeSeconds: 1000,
    bootTimeSeconds: 901,
    bootTimeFrom: 'CRASHTIME',
  });
  assert.deepEqual(findTimes({ vmcoreinfo: none, headerSeconds: 5000, lastStampNs }), {
    bootTimeSeconds: 4901,
    bootTimeFrom: 'header',
  });
  assert.deepEqual(findTimes({ vmcoreinfo, lastStampNs: undefined }), { crashTimeSeconds: 1000 });
  assert.deepEqual(findTimes({ vmcoreinfo: none, headerSeconds: 0, lastStampNs }), {});
});
