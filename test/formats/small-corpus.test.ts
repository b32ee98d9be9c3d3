/** The small corpus read whole, and its files broken at random. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { DumpError } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/base/random.ts';
import { bytesSource } from '../../src/base/source.ts';
import { openVmcore } from '../../src/format/open.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { diffPageLists, listPages, parsePageList } from '../support/page-list.ts';

const FOLDER = join(import.meta.dirname, '..', 'corpus-small', 'formats');
const TRUTH = parsePageList(readFileSync(join(FOLDER, 'mini.pages.txt'), 'utf8'));
const CODECS = nodeCodecs();

const read = (name: string): Uint8Array => new Uint8Array(gunzipSync(readFileSync(join(FOLDER, `${name}.gz`))));
const open = (bytes: Uint8Array, name = 'input'): Vmcore =>
  openVmcore(bytesSource(bytes, name), { codecs: CODECS, crc: nodeCrc32 });

for (const name of ['mini.elf', 'mini.none.d1.kdump', 'mini.c.d1.kdump', 'mini.z.d0.kdump']) {
  test(`${name}: every page`, () => {
    const vmcore = open(read(name), name);
    assert.equal(diffPageLists(listPages(vmcore), TRUTH), '');
    assert.equal(vmcore.state, 'complete');
    const counts = vmcore.countPages();
    assert.equal(counts.present, 72);
    assert.equal(counts.stored, 72);
    assert.equal(counts.zero, name.includes('.d1.') ? 54 : 0);
    assert.equal(
      Object.values(counts.byCodec).reduce((a, b) => a + b),
      72 - counts.zero,
    );
    assert.equal(vmcore.maxMapnr, 0x40008);
    assert.equal(vmcore.arch, 'x86_64');
  });
}

test('makedumpfile -E: what is left out is excluded, the rest is right', () => {
  const vmcore = open(read('mini.E.d1.elf'));
  const found = listPages(vmcore);
  for (const [pfn, what] of found) assert.equal(what, TRUTH.get(pfn));
  for (const [pfn, what] of TRUTH) {
    if (!found.has(pfn)) assert.deepEqual([what, vmcore.presence(pfn)], ['Z', 'excluded']);
  }
});

test('a file cut short: its last pages are holes, the rest is right', () => {
  const vmcore = open(read('mini.c.d1.cut-short.kdump'));
  assert.equal(vmcore.state, 'partial');
  const found = listPages(vmcore);
  assert.equal(found.size, 63);
  for (const [pfn, what] of TRUTH) {
    if (found.has(pfn)) assert.equal(found.get(pfn), what);
    else assert.equal(vmcore.presence(pfn), 'hole');
  }
});

test('QEMU, arm64 without a kernel', () => {
  const vmcore = open(read('qemu-aarch64-smp2.elf'));
  assert.equal(vmcore.arch, 'aarch64');
  assert.equal(vmcore.countPages().stored, 1024);
  assert.equal(vmcore.header.cpuCount, 2);
});

test('broken files end in a value or a DumpError, and never in much memory or time', () => {
  const seed = Number(process.env.SEED ?? 20_261_121);
  const random = seededRandom(seed);
  const inputs = ['mini.none.d1.kdump', 'mini.c.d1.kdump', 'mini.z.d0.kdump', 'mini.elf', 'mini.E.d1.elf'].map(read);
  const ROUNDS = 150;
  for (let round = 0; round < ROUNDS; round++) {
    for (const input of inputs) {
      const bytes = breakBytes(input, random.u32, round);
      try {
        touch(open(bytes));
      } catch (error) {
        const bug = !(error instanceof DumpError) || error.name === 'AssertionError';
        assert.ok(!bug, `seed ${seed}, round ${round}: ${error instanceof Error ? error.stack : error}`);
      }
    }
  }
});

/** A few bytes of the headers or anywhere set to numbers that hurt; sometimes the file is cut. */
function breakBytes(input: Uint8Array, u32: () => number, round: number): Uint8Array {
  const bytes = input.slice();
  const values = [0, 1, 0x7f, 0x80, 0xff, u32() & 0xff];
  for (let i = 0; i <= round % 5; i++) {
    const area = [128, 4096 + 128, bytes.length][u32() % 3] as number;
    bytes[u32() % area] = values[u32() % values.length] as number;
  }
  return round % 9 === 8 ? bytes.subarray(0, u32() % bytes.length) : bytes;
}

/** Uses a dump as the verbs do, within a budget. */
function touch(vmcore: Vmcore): void {
  const page = new Uint8Array(vmcore.pageSize);
  let runs = 500;
  for (const run of vmcore.walkPages()) {
    if (runs-- === 0) return;
    if (run.presence === 'excluded' || run.presence === 'hole') continue;
    try {
      vmcore.readPage(run.start, page);
      vmcore.readStored(run.end - 1, page);
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
    }
  }
  vmcore.presence(vmcore.maxMapnr - 1);
  if (vmcore.maxMapnr < 2 ** 24) vmcore.countPages();
}
