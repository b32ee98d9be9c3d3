import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createFileSink } from './file-sink.ts';
import { openFileSource } from './file-source.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'diskdump-file-'));
});
after(() => rmSync(folder, { recursive: true }));

test('what a sink took, a source gives; gaps are zeros', () => {
  const path = join(folder, 'whole');
  const sink = createFileSink(path);
  sink.write(new Uint8Array([1, 2, 3]), 5);
  sink.write(new Uint8Array([9]), 0);
  sink.flush();
  sink.close();
  const source = openFileSource(path);
  const target = new Uint8Array(10).fill(0xee);
  assert.equal(source.size, 8);
  assert.equal(source.readInto(target, 0), 8);
  assert.deepEqual([...target], [9, 0, 0, 0, 0, 1, 2, 3, 0xee, 0xee]);
  assert.equal(source.readInto(target, 7), 1);
  assert.equal(source.readInto(target, 8), 0);
  assert.equal(source.readInto(target, 2 ** 40), 0);
  source.close();
});

test('a new file is its owner’s alone, and never an old one', () => {
  const path = join(folder, 'secret');
  createFileSink(path).close();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.throws(() => createFileSink(path), {
    name: 'DeviceError',
    code: 'FILE_WRITE',
    message: /: file already exists \(EEXIST\)$/,
  });
  assert.throws(() => createFileSink(join(folder, 'no', 'folder')), { message: /\(ENOENT\)/ });
});

test('what cannot be opened says why', () => {
  assert.throws(() => openFileSource(join(folder, 'absent')), {
    name: 'NoDataError',
    message: /^opening .*absent: no such file or directory \(ENOENT\)$/,
    hint: /path/,
    data: { path: join(folder, 'absent'), errno: 'ENOENT' },
  });
  assert.throws(() => openFileSource(folder), { name: 'NoDataError', message: /directory/ });
});

test('a failing write or read names path, place and errno', () => {
  const sink = createFileSink(join(folder, 'gone'));
  sink.close();
  assert.throws(() => sink.write(new Uint8Array(4), 8), {
    name: 'DeviceError',
    code: 'FILE_WRITE',
    message: /^write of 4 bytes at 8 of .*gone: bad file descriptor \(EBADF\)$/,
  });
  const path = join(folder, 'closed');
  writeFileSync(path, 'abcd');
  const source = openFileSource(path);
  source.close();
  assert.throws(() => source.readInto(new Uint8Array(4), 0), {
    name: 'DeviceError',
    code: 'FILE_READ',
    message: /EBADF/,
  });
});

test('a sparse file tells its holes from its data', () => {
  const path = join(folder, 'sparse');
  const sink = createFileSink(path);
  sink.write(new Uint8Array(4096).fill(7), 2 ** 30);
  sink.flush();
  sink.close();
  truncateSync(path, 2 ** 40);
  const source = openFileSource(path);
  const data = source.dataFrom?.(0) as number;
  assert.ok(data > 2 ** 29 && data <= 2 ** 30, `data from ${data}`);
  assert.equal(source.dataFrom?.(2 ** 30), 2 ** 30);
  assert.equal(source.dataFrom?.(2 ** 31), 2 ** 40);
  source.close();
});
