import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), 'examples-'));
after(() => rmSync(folder, { recursive: true }));

function runExample(name: string, ...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'examples', name), ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** An ELF core of x86-64: one segment of `pages` pages at `paddr`, no notes. */
function elfCore(paddr: number, pages: number): Uint8Array {
  const bytes = new Uint8Array((1 + pages) * 4096);
  const view = new DataView(bytes.buffer);
  const words = (offset: number, values: readonly number[]) => {
    for (const [i, value] of values.entries()) view.setBigUint64(offset + 8 * i, BigInt(value), true);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 4, true); // ET_CORE
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  words(32, [64]); // program headers follow the header
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true); // PT_LOAD
  words(72, [4096, 0, paddr, pages * 4096, pages * 4096, 4096]);
  bytes.fill(0xa5, 4096);
  return bytes;
}

test('page-runs lists what an ELF core holds', () => {
  const path = join(folder, 'core');
  writeFileSync(path, elfCore(0x100000, 3));
  const { status, stdout, stderr } = runExample('page-runs.ts', path);
  assert.equal(status, 0, stderr);
  assert.equal(stdout, 'elf, complete, x86_64, pages of 4096 bytes\n0x000000100000         3 pages  stored\n');
});

test('every example says how it is used', () => {
  for (const path of globSync('examples/*.ts', { cwd: ROOT })) {
    const name = path.slice('examples/'.length);
    assert.match(readFileSync(join(ROOT, path), 'utf8'), new RegExp(`node examples/${name} `));
    const { status, stderr } = runExample(name);
    assert.notEqual(status, 0);
    assert.match(stderr, /usage: node_modules\/\.bin\/node examples\//);
  }
});
