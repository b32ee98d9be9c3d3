import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KernelBuilder } from '../../../test/support/kernel-builder.ts';
import { writeBuiltKernel } from '../../../test/support/kernel-kdump.ts';
import { runCli } from '../../../test/support/terminal.ts';

const VMALLOC = 0xffffc90000000000n;
const PADDR = 0x800000;

/** Four pages of vmalloc memory in reversed order; the last was excluded, behind them nothing is mapped. */
async function withDump(work: (path: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'read-'));
  try {
    const builder = new KernelBuilder();
    for (let i = 0; i < 4; i++) {
      const paddr = PADDR + (3 - i) * 4096;
      builder.write(paddr, new Uint8Array(4096).fill(0x41 + i));
      builder.map(VMALLOC + BigInt(i * 4096), paddr);
    }
    builder.lose(PADDR / 4096);
    const path = join(folder, 'vmcore');
    writeBuiltKernel(builder, path);
    await work(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const at = (offset: number): string => `0x${(VMALLOC + BigInt(offset)).toString(16)}`;

test('virtual and physical memory, across pages', () =>
  withDump(async (path) => {
    assert.equal((await runCli('read', path, at(4094), '4')).out, 'AABB');
    assert.equal((await runCli('read', path, at(4094).slice(2), '0x4')).out, 'AABB', 'hex without 0x');
    assert.equal((await runCli('read', path, '--phys', '0x802ffe', '4')).out, 'BBAA');
    assert.equal((await runCli('read', path, '--phys', String(0x802ffe), '4')).out, 'BBAA', 'decimal');
    assert.equal((await runCli('read', path, at(0), '8K')).outBytes.length, 8192);
    assert.equal((await runCli('read', path, at(0), '0')).out, '');
  }));

test('reading stops at the first byte that is not there, and says where and why', () =>
  withDump(async (path) => {
    const excluded = await runCli('read', path, at(3 * 4096 - 2), '4');
    assert.equal(excluded.code, 4);
    assert.equal(excluded.out, 'CC');
    assert.match(excluded.err, new RegExp(`^diskdump: reading vaddr ${at(3 * 4096)}: excluded: .*0x800`));
    assert.match(excluded.err, /\nhint: /);
    const unmapped = await runCli('read', path, at(4 * 4096), '4', '--json');
    assert.equal(unmapped.code, 4);
    const document = JSON.parse(unmapped.err.trimEnd().split('\n').at(-1) as string);
    assert.equal(document.code, 'NOT_MAPPED');
    assert.equal(document.data.reason, 'not mapped');
    assert.equal(document.data.address, at(4 * 4096));
    const never = await runCli('read', path, '--phys', '0xffffffffffff0000', '1');
    assert.equal(never.code, 4);
    assert.match(never.err, /never captured/);
  }));

test('--zero-excluded goes on with zeros', () =>
  withDump(async (path) => {
    const { code, out, err } = await runCli('read', path, at(3 * 4096 - 2), '4', '--zero-excluded');
    assert.equal(code, 0);
    assert.equal(out, 'CC\0\0');
    assert.match(err, /2 of 4 bytes are not in the dump/);
  }));

test('what is no address, no length or too far is a question of usage', () =>
  withDump(async (path) => {
    for (const words of [
      ['12g', '4'],
      ['0x12345678123456789', '4'],
      ['0x1000', 'much'],
      ['0xffffffffffffffff', '2'],
    ])
      assert.equal((await runCli('read', path, ...words)).code, 2, words.join(' '));
    assert.equal((await runCli('read', path, path, '0x1000', '4')).code, 3, 'split dumps');
    const { code, err } = await runCli('read', path, '0x1000', '5', '6');
    assert.equal(code, 2);
    assert.match(err, /read: one argument too many: 4 are given, and '0x1000' is no second file/);
  }));
