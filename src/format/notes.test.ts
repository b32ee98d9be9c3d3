import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildNote, buildPrstatus, concat } from '../../test/support/kdump-builder.ts';
import { seededRandom } from '../base/random.ts';
import { findNote, parsePrstatus, prstatusNotes, VMCOREINFO_OWNER, walkNotes } from './notes.ts';

const info = new TextEncoder().encode('OSRELEASE=6.1\n');
const bytes = concat([
  buildPrstatus(7, 0xffffffff81000000n),
  buildPrstatus(8, 0xffffffff82000000n),
  new Uint8Array(12),
  buildNote('VMCOREINFO', 0, info),
  buildNote('ODD', 9, new Uint8Array([1, 2, 3])),
]);

test('notes come in order, padded to 4, empty records passed over', () => {
  const notes = walkNotes(bytes);
  assert.deepEqual(
    notes.map((note) => [note.owner, note.type, note.desc.length]),
    [
      ['CORE', 1, 336],
      ['CORE', 1, 336],
      ['VMCOREINFO', 0, info.length],
      ['ODD', 9, 3],
    ],
  );
  for (const note of notes) {
    assert.deepEqual(bytes.subarray(note.descOffset, note.descOffset + note.desc.length), note.desc);
  }
  assert.equal(prstatusNotes(notes).length, 2);
  assert.deepEqual(findNote(notes, VMCOREINFO_OWNER)?.desc, info);
  assert.equal(findNote(notes, 'CORE', 4), undefined);
});

test('a name without its NUL is the same name', () => {
  const note = buildNote('CORE', 1, new Uint8Array(4));
  new DataView(note.buffer).setUint32(0, 4, true);
  // netdump: four bytes of name, then the descriptor at once.
  const packed = concat([note.subarray(0, 16), note.subarray(20)]);
  assert.equal(walkNotes(packed)[0]?.owner, 'CORE');
});

test('a record that does not fit ends the walk, what came before counts', () => {
  assert.equal(walkNotes(bytes.subarray(0, bytes.length - 4)).length, 3);
  const broken = bytes.slice();
  new DataView(broken.buffer).setUint32(4, 0xfffffff0, true);
  assert.equal(walkNotes(broken).length, 0);
});

test('registers by name', () => {
  const [first] = prstatusNotes(walkNotes(bytes));
  const status = parsePrstatus(first?.desc ?? new Uint8Array(0), 'x86_64');
  assert.equal(status?.pid, 7);
  assert.equal(status?.registers.rip, 0xffffffff81000000n);
  assert.equal(parsePrstatus(new Uint8Array(300), 'x86_64'), undefined);
  assert.equal(parsePrstatus(new Uint8Array(392), 'aarch64')?.registers.pstate, 0n);
  assert.equal(parsePrstatus(new Uint8Array(392), 's390x'), undefined);
});

test('any bytes end in a list', () => {
  const random = seededRandom(3);
  for (let round = 0; round < 300; round++) {
    const junk = bytes.slice();
    for (let i = 0; i < 20; i++) junk[random.u32() % junk.length] = random.u32() & 0xff;
    assert.ok(walkNotes(junk).length <= junk.length / 12);
  }
});
