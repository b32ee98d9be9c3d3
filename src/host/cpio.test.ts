import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type CpioEntry, parentDirectories, writeCpio } from './cpio.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

const ENTRIES: readonly CpioEntry[] = [
  { kind: 'directory', path: 'bin' },
  { kind: 'file', path: 'bin/odd', bytes: text('five!'), mode: 0o755 },
  { kind: 'link', path: 'bin/link', target: 'odd' },
  { kind: 'file', path: 'empty', bytes: new Uint8Array(0) },
];

test('cpio lists and unpacks what was written', () => {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-cpio-'));
  try {
    const archive = Buffer.concat(writeCpio(ENTRIES));
    const listed = execFileSync('cpio', ['-t', '--quiet'], { input: archive, encoding: 'utf8' });
    assert.deepEqual(listed.trim().split('\n'), ['bin', 'bin/odd', 'bin/link', 'empty']);
    execFileSync('cpio', ['-i', '--quiet', '--no-absolute-filenames'], { input: archive, cwd: folder });
    assert.equal(readFileSync(join(folder, 'bin/link'), 'utf8'), 'five!');
    assert.equal(statSync(join(folder, 'bin/odd')).mode & 0o777, 0o755);
    assert.equal(statSync(join(folder, 'empty')).size, 0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('cpio of the system writes the same headers but for what depends on the system', () => {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-cpio-'));
  try {
    writeFileSync(join(folder, 'file'), 'contents', { mode: 0o640 });
    const theirs = execFileSync('cpio', ['-o', '--quiet', '-H', 'newc', '--reproducible'], {
      input: 'file\n',
      cwd: folder,
    });
    const ours = Buffer.concat(writeCpio([{ kind: 'file', path: 'file', bytes: text('contents'), mode: 0o640 }]));
    const field = (archive: Buffer, n: number): string => archive.toString('latin1', 6 + 8 * n, 14 + 8 * n);
    for (const n of [1, 4, 6, 11, 12]) assert.equal(field(ours, n), field(theirs, n), `field ${n}`);
    assert.equal(ours.toString('latin1', 110, 124), theirs.toString('latin1', 110, 124));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the archive depends on the entries alone and ends on four bytes', () => {
  const [one, two] = [Buffer.concat(writeCpio(ENTRIES)), Buffer.concat(writeCpio(ENTRIES))];
  assert.deepEqual(one, two);
  assert.equal(one.length % 4, 0);
});

test('a device node is listed with its numbers', () => {
  const archive = Buffer.concat(
    writeCpio([{ kind: 'device', path: 'console', type: 'character', major: 5, minor: 1 }]),
  );
  const listed = execFileSync('cpio', ['-tv', '--quiet'], { input: archive, encoding: 'utf8' });
  assert.match(listed, /^crw------- .* 5, +1 .*console$/m);
});

test('a file before its directory, and an absolute path, are refused', () => {
  const file: CpioEntry = { kind: 'file', path: 'a/b', bytes: text('x') };
  assert.throws(() => writeCpio([file]), { code: 'CPIO_ENTRY', message: /its directory a does not come before it/ });
  assert.throws(() => writeCpio([{ ...file, path: '/a' }]), { code: 'CPIO_ENTRY' });
});

test('parents come first, each once', () => {
  const paths = parentDirectories(['a/b/c', 'a/d', 'e']).map(({ path }) => path);
  assert.deepEqual(paths, ['a', 'a/b']);
});
