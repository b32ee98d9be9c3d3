import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { PagePresence, PageRun, Vmcore } from '../format/vmcore.ts';
import { checkMemory, memoryAgrees, parseIomem } from './memory-check.ts';

const IOMEM = `00000000-00000fff : Reserved
00001000-0009fbff : System RAM
00100000-0010ffff : System RAM
  00104000-00105fff : Kernel code
  00108000-00109fff : Crash kernel
00110000-ffffffff : PCI Bus 0000:00
`;

test('the memory map has System RAM and the crash kernel inside it', () => {
  const map = parseIomem(IOMEM);
  assert.deepEqual(map.systemRam, [
    { start: 0x1000, end: 0x9fc00 },
    { start: 0x100000, end: 0x110000 },
  ]);
  assert.deepEqual(map.crashKernel, [{ start: 0x108000, end: 0x10a000 }]);
});

/** 16 pages at 1 MiB, of which 8 and 9 are the capture kernel's; page n is filled with n + 1. */
function withRam(check: (path: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-ram-'));
  try {
    const ram = new Uint8Array(0x110000);
    for (let n = 0; n < 16; n++) ram.fill(n + 1, 0x100000 + n * 4096, 0x100000 + (n + 1) * 4096);
    writeFileSync(join(folder, 'ram'), ram);
    check(join(folder, 'ram'));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function dumpOf(pages: ReadonlyMap<number, number>): Vmcore {
  const presence = (pfn: number): PagePresence => (pages.has(pfn) ? 'stored' : 'absent');
  const dump = {
    presence,
    readPage: (pfn: number, target: Uint8Array) => target.fill(pages.get(pfn) ?? 0),
    *walkPages(): Iterable<PageRun> {
      for (const pfn of pages.keys()) yield { start: pfn, end: pfn + 1, presence: 'stored' } as PageRun;
    },
  };
  return dump as unknown as Vmcore;
}

function wholeDump(): Map<number, number> {
  const pages = new Map<number, number>();
  for (let n = 0; n < 16; n++) if (n < 8 || n > 9) pages.set(0x100 + n, n + 1);
  return pages;
}

test('a dump with every page agrees', () => {
  withRam((ram) => {
    const check = checkMemory(dumpOf(wholeDump()), ram, parseIomem(IOMEM));
    assert.equal(check.expected, 14);
    assert.ok(memoryAgrees(check));
  });
});

test('a missing, a different and a foreign page are each found', () => {
  withRam((ram) => {
    const pages = wholeDump();
    pages.delete(0x103);
    pages.set(0x104, 99);
    pages.set(0x108, 9);
    pages.set(0x120, 1);
    const check = checkMemory(dumpOf(new Map([...pages].sort(([a], [b]) => a - b))), ram, parseIomem(IOMEM));
    assert.deepEqual(check.missing, [0x103]);
    assert.deepEqual(check.different, [0x104]);
    assert.deepEqual(check.foreign, [0x108, 0x120]);
    assert.ok(!memoryAgrees(check));
  });
});
