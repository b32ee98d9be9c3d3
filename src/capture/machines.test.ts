import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildElf } from '../../test/support/elf-builder.ts';
import { buildKdump, buildNote, buildPage, buildPrstatus, concat } from '../../test/support/kdump-builder.ts';
import { bytesSource } from '../base/source.ts';
import { openKdump } from '../format/kdump/reader.ts';
import { findNote, prstatusNotes, walkNotes } from '../format/notes.ts';
import { nodeCodecs } from '../host/codecs.ts';
import { openDumpMachine } from './dump-machine.ts';
import { openVmcoreMachine } from './vmcore-machine.ts';

const TEXT = new TextEncoder();
const VMCOREINFO = buildNote('VMCOREINFO', 0, TEXT.encode('OSRELEASE=6.1.0\nPAGESIZE=4096\n'));

function pages(start: number, end: number): Uint8Array {
  return concat(Array.from({ length: end - start }, (_, i) => buildPage(start + i)));
}

function readPage(machine: { read(pfn: number, target: Uint8Array): void }, pfn: number): Uint8Array {
  const page = new Uint8Array(4096);
  machine.read(pfn, page);
  return page;
}

test('/proc/vmcore: memory once, notes as they are, the text segment only as a mapping', () => {
  const notes = concat([buildPrstatus(7, 1n), VMCOREINFO]);
  const file = buildElf({
    notes: [notes],
    segments: [
      { paddr: 0x10000n, vaddr: 0xffff888000010000n, data: pages(0x10, 0x20) },
      { paddr: 0x100000n, vaddr: 0xffff888000100000n, data: pages(0x100, 0x104) },
      { paddr: 0x12000n, vaddr: 0xffffffff81000000n, sharesWith: { index: 0, at: 0x2000 }, data: pages(0x12, 0x15) },
    ],
  });
  const machine = openVmcoreMachine(bytesSource(file, '/proc/vmcore'));
  assert.deepEqual(machine.ranges, [
    { start: 0x10, end: 0x20 },
    { start: 0x100, end: 0x104 },
  ]);
  assert.deepEqual(
    [machine.name, machine.kind, machine.arch, machine.pageSize],
    ['vmcore:/proc/vmcore', 'vmcore', 'x86_64', 4096],
  );
  assert.equal(machine.segments.length, 3);
  assert.deepEqual(machine.notes, notes);
  for (const { start, end } of machine.ranges)
    for (let pfn = start; pfn < end; pfn++) assert.deepEqual(readPage(machine, pfn), buildPage(pfn));
  const several = new Uint8Array(3 * 4096);
  machine.read(0x101, several);
  assert.deepEqual(several, pages(0x101, 0x104));
  assert.throws(() => readPage(machine, 0x20), { code: 'PAGE_ABSENT' });
  assert.throws(() => machine.read(0x103, several), { code: 'PAGE_ABSENT' });
});

test('/proc/vmcore: the pages at the edges of a segment are there whole, as the kernel rounds them', () => {
  const file = buildElf({
    notes: [VMCOREINFO],
    segments: [{ paddr: 0x10000n, data: pages(0x10, 0x14) }],
  });
  // The kernel leaves p_paddr and p_filesz as they were and points p_offset into the first whole page.
  const view = new DataView(file.buffer, file.byteOffset);
  const load = Number(view.getBigUint64(32, true)) + 56;
  view.setBigUint64(load + 8, view.getBigUint64(load + 8, true) + 0x400n, true);
  view.setBigUint64(load + 24, 0x10400n, true);
  view.setBigUint64(load + 32, 0x3800n, true);
  view.setBigUint64(load + 40, 0x3800n, true);
  const machine = openVmcoreMachine(bytesSource(file));
  assert.deepEqual(machine.ranges, [{ start: 0x10, end: 0x14 }]);
  for (let pfn = 0x10; pfn < 0x14; pfn++) assert.deepEqual(readPage(machine, pfn), buildPage(pfn));
});

test('/proc/vmcore cut short: the page that is not there throws, the others read', () => {
  const whole = buildElf({ notes: [VMCOREINFO], segments: [{ paddr: 0x10000n, data: pages(0x10, 0x14) }] });
  const machine = openVmcoreMachine(bytesSource(whole.subarray(0, whole.length - 100)));
  assert.deepEqual(readPage(machine, 0x12), buildPage(0x12));
  assert.throws(() => readPage(machine, 0x13), { code: 'TRUNCATED' });
});

test('a dump file: what it excludes is no memory, its notes are written anew', () => {
  const built = buildKdump();
  const dump = openKdump(bytesSource(built), { codecs: nodeCodecs() });
  const machine = openDumpMachine(dump);
  assert.equal(machine.kind, 'file');
  for (const { start, end } of machine.ranges) {
    for (let pfn = start; pfn < end; pfn++) {
      const page = new Uint8Array(dump.pageSize);
      dump.readPage(pfn, page);
      assert.deepEqual(readPage(machine, pfn), page);
      assert.notEqual(dump.presence(pfn), 'excluded');
    }
  }
  const notes = walkNotes(machine.notes);
  assert.equal(prstatusNotes(notes).length, prstatusNotes(dump.notes).length);
  assert.deepEqual(findNote(notes, 'VMCOREINFO')?.desc, findNote(dump.notes, 'VMCOREINFO')?.desc);
});
