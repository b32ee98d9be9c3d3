import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildElf, type ElfRecipe } from '../../../test/support/elf-builder.ts';
import { buildNote, buildPage, buildPrstatus, concat } from '../../../test/support/kdump-builder.ts';
import { bytesSource } from '../../base/source.ts';
import type { Vmcore } from '../vmcore.ts';
import { openElf } from './reader.ts';

const pages = (first: number, count: number): Uint8Array =>
  concat(Array.from({ length: count }, (_, i) => buildPage(first + i)));

const RAM: ElfRecipe['segments'] = [
  { paddr: 0x1000n, vaddr: 0xffff888000001000n, data: pages(1, 3) },
  { paddr: 0x100000n, vaddr: 0xffff888000100000n, data: pages(0x100, 4) },
];
const NOTES = [concat([buildPrstatus(1, 2n), buildNote('VMCOREINFO', 0, new TextEncoder().encode('PAGESIZE=4096\n'))])];

function open(recipe: ElfRecipe): Vmcore {
  return openElf(bytesSource(buildElf(recipe), 'vmcore'));
}

function readPage(vmcore: Vmcore, pfn: number): Uint8Array {
  const page = new Uint8Array(vmcore.pageSize).fill(0xaa);
  vmcore.readPage(pfn, page);
  return page;
}

for (const [name, change] of Object.entries<Partial<ElfRecipe>>({
  'of the kernel': {},
  'of QEMU': { qemu: true },
  'with extended numbering': { extendedNumbering: true },
  'with extended numbering, of QEMU': { extendedNumbering: true, qemu: true },
  'of a big-endian machine': { data: 2, machine: 22, notes: [new Uint8Array(0)] },
  'with several PT_NOTE': { notes: [...NOTES, buildNote('X', 2, new Uint8Array(4))] },
})) {
  test(`pages, notes and mappings of a core ${name}`, () => {
    const vmcore = open({ segments: RAM, notes: NOTES, ...change });
    assert.equal(vmcore.state, 'complete');
    assert.equal(vmcore.maxMapnr, 0x104);
    assert.equal(vmcore.littleEndian, change.data !== 2);
    assert.equal(vmcore.notes.length, change.notes === undefined ? 2 : change.notes.length === 1 ? 0 : 3);
    for (const pfn of [1, 2, 3, 0x100, 0x103]) assert.deepEqual(readPage(vmcore, pfn), buildPage(pfn), `page ${pfn}`);
    assert.deepEqual(
      [...vmcore.walkPages()],
      [
        { start: 1, end: 4, presence: 'stored' },
        { start: 0x100, end: 0x104, presence: 'stored' },
      ],
    );
    assert.deepEqual([...vmcore.walkPages(0x102)], [{ start: 0x102, end: 0x104, presence: 'stored' }]);
    assert.deepEqual(vmcore.countPages(), { present: 7, stored: 7, zero: 0, byCodec: { raw: 7 } });
    assert.deepEqual(vmcore.segments[0], { vaddr: 0xffff888000001000n, paddr: 0x1000, size: 0x3000 });
    assert.throws(() => readPage(vmcore, 0), { name: 'NoDataError', code: 'PAGE_ABSENT' });
  });
}

test('the kernel text overlaps the memory that it lies in', () => {
  const text = { paddr: 0x101000n, vaddr: 0xffffffff81000000n, data: pages(0x101, 2) };
  const shared = { ...text, sharesWith: { index: 1, at: 0x1000 } };
  for (const segments of [
    [text, ...RAM],
    [...RAM, shared],
  ]) {
    const vmcore = open({ segments });
    for (let pfn = 0x100; pfn < 0x104; pfn++) assert.deepEqual(readPage(vmcore, pfn), buildPage(pfn));
    assert.equal(vmcore.countPages().present, 7);
    assert.equal(vmcore.segments.length, 3);
  }
});

test('bytes beyond p_filesz: zeros in a page that has some, excluded in one that has none', () => {
  const vmcore = open({ segments: [{ paddr: 0x2000n, data: buildPage(2).subarray(0, 100), memorySize: 0x3000 }] });
  const expected = new Uint8Array(4096);
  expected.set(buildPage(2).subarray(0, 100));
  assert.deepEqual(readPage(vmcore, 2), expected);
  assert.equal(vmcore.presence(3), 'excluded');
  assert.throws(() => readPage(vmcore, 4), { name: 'NoDataError', code: 'PAGE_EXCLUDED' });
  assert.deepEqual(vmcore.countPages(), { present: 1, stored: 1, zero: 0, byCodec: { raw: 1 } });
  assert.equal(vmcore.maxMapnr, 5);
});

test('a page put together from segments that end inside it', () => {
  const page = buildPage(4);
  const vmcore = open({
    segments: [
      { paddr: 0x4800n, data: page.subarray(0x800, 0x900) },
      { paddr: 0x4100n, data: page.subarray(0x100, 0x200) },
      { paddr: 0x4f00n, data: concat([page.subarray(0xf00), buildPage(5)]) },
    ],
  });
  const expected = new Uint8Array(4096);
  for (const [from, to] of [
    [0x100, 0x200],
    [0x800, 0x900],
    [0xf00, 0x1000],
  ] as const) {
    expected.set(page.subarray(from, to), from);
  }
  assert.deepEqual(readPage(vmcore, 4), expected);
  assert.deepEqual(readPage(vmcore, 5), buildPage(5));
});

test('segments without a physical address or without an offset hold no page', () => {
  const vmcore = open({
    segments: [
      ...RAM,
      { paddr: 0xffffffffffffffffn, vaddr: 0xffffffffc0000000n, data: pages(0, 1) },
      { paddr: 0x200000n, memorySize: 0x2000, noOffset: true },
    ],
  });
  assert.equal(vmcore.countPages().stored, 7);
  assert.equal(vmcore.presence(0x200), 'excluded');
});

test('a core cut short is partial, and its last pages are holes', () => {
  const bytes = buildElf({ segments: RAM });
  const vmcore = openElf(bytesSource(bytes.subarray(0, bytes.length - 5000)));
  assert.equal(vmcore.state, 'partial');
  assert.match(vmcore.partialReason ?? '', /2 pages/);
  assert.equal(vmcore.presence(0x102), 'hole');
  assert.throws(() => readPage(vmcore, 0x103), { code: 'PAGE_HOLE' });
  assert.deepEqual(readPage(vmcore, 0x101), buildPage(0x101));
  assert.deepEqual(vmcore.countPages(), { present: 7, stored: 5, zero: 0, byCodec: { raw: 5 } });
  assert.equal(open({ segments: RAM, flags: 1 }).state, 'partial');
  assert.equal(open({ segments: RAM, flags: 1, machine: 243 }).state, 'complete', 'RISC-V uses that bit itself');
});

test('what cannot be read is named', () => {
  assert.throws(() => open({ segments: RAM, elfClass: 1 }), { name: 'UnsupportedError', message: /32-bit/ });
  assert.throws(() => open({ segments: RAM, elfClass: 3 }), { name: 'FormatError', code: 'ELF_IDENT' });
  assert.throws(() => open({ segments: RAM, type: 2 }), { name: 'FormatError', code: 'ELF_TYPE' });
  assert.throws(() => open({ segments: [] }), { name: 'FormatError', code: 'ELF_EMPTY' });
  assert.throws(() => open({ segments: [{ paddr: 2n ** 52n, data: pages(0, 1) }] }), { code: 'ELF_SEGMENT' });
  const corrupt = (at: number, value: number): Uint8Array => {
    const bytes = buildElf({ segments: RAM });
    new DataView(bytes.buffer).setUint16(at, value, true);
    return bytes;
  };
  assert.throws(() => openElf(bytesSource(corrupt(54, 32))), { code: 'ELF_PHDRS' });
  assert.throws(() => openElf(bytesSource(corrupt(56, 0xfffe))), { code: 'ELF_PHDRS' });
  assert.throws(() => openElf(bytesSource(corrupt(56, 0xffff))), { code: 'ELF_XNUM' });
  assert.throws(() => openElf(bytesSource(corrupt(36, 0xffff))), { name: 'FormatError' });
});

test('many segments stay cheap', () => {
  const count = 70_000;
  const data = buildPage(1).subarray(0, 16);
  const segments = Array.from({ length: count }, (_, i) => ({ paddr: BigInt(i) * 0x2000n, data }));
  const vmcore = open({ segments, extendedNumbering: true });
  assert.equal(vmcore.countPages().present, count);
  assert.deepEqual(readPage(vmcore, 2 * (count - 1)).subarray(0, 16), data);
});
