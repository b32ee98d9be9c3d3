import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { inspectSaved } from '../savecore/record.ts';
import { lockSaveStore, openSaveStore } from './save-store.ts';

const root = mkdtempSync(join(tmpdir(), 'diskdump-store-'));
after(() => rmSync(root, { recursive: true, force: true }));

test('what lies in a crash directory is waited for by nobody and followed nowhere', () => {
  for (const name of ['fifo', 'link', 'folder']) mkdirSync(join(root, `127.0.0.1-${name}`));
  execFileSync('mkfifo', [join(root, '127.0.0.1-fifo/info.json')]);
  symlinkSync('/dev/zero', join(root, '127.0.0.1-link/info.json'));
  mkdirSync(join(root, '127.0.0.1-folder/info.json'));
  const store = openSaveStore(root);
  assert.ok(store.list('').every((name) => inspectSaved(store, name) === undefined));
  for (const name of ['fifo', 'link', 'folder'])
    assert.equal(store.fileSize(`127.0.0.1-${name}/info.json`), undefined, name);
});

test('files are the owner’s alone, and a rename replaces nothing', () => {
  const store = openSaveStore(root);
  store.makeDirectory('new');
  const sink = store.create('new/file');
  sink.write(new Uint8Array(3), 0);
  sink.flush();
  sink.close();
  assert.equal(statSync(join(root, 'new/file')).mode & 0o777, 0o600);
  assert.equal(statSync(join(root, 'new')).mode & 0o777, 0o700);
  assert.equal(store.fileSize('new/file'), 3);
  mkdirSync(join(root, 'taken'));
  writeFileSync(join(root, 'taken/x'), '');
  assert.throws(() => store.rename('new', 'taken'), { code: 'SAVE_STORE' });
});

test('what is no directory is said in words', () => {
  const file = join(root, 'a file');
  writeFileSync(file, '');
  for (const path of [file, join(file, 'below')]) {
    assert.throws(() => lockSaveStore(path), {
      name: 'UsageError',
      code: 'SAVE_DIRECTORY',
      message: /is not a directory$/,
    });
    assert.throws(() => openSaveStore(path), { code: 'SAVE_DIRECTORY', hint: /--to/ });
  }
});

test('one save at a time', () => {
  const unlock = lockSaveStore(root);
  assert.throws(() => lockSaveStore(root), { code: 'SAVE_BUSY' });
  unlock();
  lockSaveStore(root)();
});
