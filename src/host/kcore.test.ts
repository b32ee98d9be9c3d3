import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { LiveKernelMemory } from './kcore.ts';

const DIRECT = 0xffff888000000000n;
const TEXT = 0xffffffff81000000n;
const VMALLOC = 0xffffc90000000000n;
const NOTE_PADDR = 0x3000;
const INFO = 'OSRELEASE=6.12.1\n';

let root: string;
let memory: LiveKernelMemory;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-kcore-'));
  writeFileSync(join(root, 'kcore'), core());
  writeFileSync(join(root, 'vmcoreinfo'), `${NOTE_PADDR.toString(16)} 1000\n`);
  memory = LiveKernelMemory.open(join(root, 'kcore'), join(root, 'vmcoreinfo'));
});

after(() => {
  memory.close();
  rmSync(root, { recursive: true, force: true });
});

test('virtual addresses are read where their segment lies in the file', () => {
  const bytes = new Uint8Array(4);
  memory.readVirtual(bytes, TEXT + 0x10n);
  assert.deepEqual([...bytes], [0x7e, 0x7e, 0x7e, 0x7e]);
  assert.throws(() => memory.readVirtual(bytes, TEXT + 0xffen), { code: 'NOT_MAPPED' });
});

test('kernel text and direct map lead to physical memory, vmalloc does not', () => {
  assert.deepEqual(memory.translate(TEXT + 8n), { paddr: 0x1000008, length: 0xff8 });
  assert.deepEqual(memory.translate(DIRECT + 0x2000n), { paddr: 0x3000, length: 0x2000 });
  assert.throws(() => memory.translate(VMALLOC), { code: 'NOT_MAPPED', message: /contiguous/ });
});

test('vmcoreinfo is the text of the note that the kernel points to', () => {
  assert.equal(new TextDecoder().decode(memory.readVmcoreinfo()), INFO);
});

test('what is no core, or not there, is said', () => {
  writeFileSync(join(root, 'empty'), Buffer.alloc(4096));
  assert.throws(() => LiveKernelMemory.open(join(root, 'empty')), { code: 'KCORE_HEADER' });
  assert.throws(() => LiveKernelMemory.open(join(root, 'absent')), { code: 'KCORE_OPEN' });
});

/** An ELF core as /proc/kcore: RAM from 0x1000 on, one page of text, one of vmalloc. */
function core(): Buffer {
  const segments = [
    { vaddr: DIRECT, paddr: 0x1000n, size: 0x4000, offset: 0x1000 },
    { vaddr: TEXT, paddr: 0x1000000n, size: 0x1000, offset: 0x5000 },
    { vaddr: VMALLOC, paddr: 0xffffffffffffffffn, size: 0x1000, offset: 0x6000 },
  ];
  const file = Buffer.alloc(0x7000);
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt16LE(segments.length, 56);
  for (const [n, { vaddr, paddr, size, offset }] of segments.entries()) {
    const at = 64 + n * 56;
    file.writeUInt32LE(1, at);
    file.writeBigUInt64LE(BigInt(offset), at + 8);
    file.writeBigUInt64LE(vaddr, at + 16);
    file.writeBigUInt64LE(paddr, at + 24);
    file.writeBigUInt64LE(BigInt(size), at + 32);
  }
  file.fill(0x7e, 0x5000, 0x6000);
  const note = 0x1000 + NOTE_PADDR - 0x1000;
  file.writeUInt32LE('VMCOREINFO\0'.length, note);
  file.writeUInt32LE(INFO.length, note + 4);
  file.write('VMCOREINFO\0', note + 12, 'latin1');
  file.write(INFO, note + 24, 'latin1');
  return file;
}
