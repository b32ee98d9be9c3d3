/** `list` over crash directories that are whole, damaged, another tool's, or not ours to read. */

import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../../test/driver/scratch.ts';
import { runCli } from '../../../test/support/terminal.ts';

/** A crash directory with this text as its `info.json`. */
function crash(store: string, day: number, info: string | undefined, vmcore = true): string {
  const path = join(store, `127.0.0.1-2026-01-0${day}-00:00:00`);
  mkdirSync(path);
  if (info !== undefined) writeFileSync(join(path, 'info.json'), info);
  if (vmcore) writeFileSync(join(path, 'vmcore'), 'x');
  return path;
}

const RECORD = { schema: 'diskdump.save/1', device: '/dev/vdb', dumpUuid: 'u', kind: 'dump', state: 'complete' };
const SAVED = { schema: 'diskdump.saved/1', whole: true, release: '6.12' };
const WHOLE = JSON.stringify({ ...SAVED, record: { ...RECORD, pages: 1, bytes: 4096, passes: [], holes: 0 } });

test('what is damaged is named on stderr, what is another tool’s is not', async () => {
  const store = scratchFolder();
  const whole = crash(store, 1, WHOLE);
  const gone = crash(store, 2, WHOLE, false);
  const garbage = crash(store, 3, '{"schema": "diskdump.sav');
  const shapeless = crash(store, 4, JSON.stringify({ ...SAVED, record: {} }));
  crash(store, 5, undefined);
  crash(store, 6, '{"tool": "another"}');
  const { code, out, err } = await runCli('list', '--to', store, '--json');
  assert.equal(code, 0);
  const dirs = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).dir);
  assert.deepEqual(dirs, [whole, gone]);
  assert.deepEqual(err.trimEnd().split('\n').length, 3);
  assert.match(err, new RegExp(`^warning: ${gone}: its vmcore is gone`, 'm'));
  for (const path of [garbage, shapeless])
    assert.match(err, new RegExp(`^warning: ${path}: its info.json is damaged`, 'm'));
});

test('a file is no directory, and nobody speaks of saving', async () => {
  const file = join(scratchFolder(), 'file');
  writeFileSync(file, '');
  const { code, err } = await runCli('list', '--to', file);
  assert.equal(code, 2);
  assert.match(err, /^diskdump: listing .*file: it is not a directory\nhint: /);
});

test('a directory that may not be looked into does not hide the others', {
  skip: process.geteuid?.() !== 0 && 'becomes another user for a moment',
}, async () => {
  const store = scratchFolder();
  chmodSync(store, 0o755);
  const open = crash(store, 1, WHOLE);
  for (const day of [2, 3]) chmodSync(crash(store, day, WHOLE), 0o700);
  // Loads what the verb needs while its files can be read.
  await runCli('list', '--to', store);
  process.seteuid?.(65534);
  const { code, out, err } = await runCli('list', '--to', store).finally(() => process.seteuid?.(0));
  assert.equal(code, 4, err);
  assert.match(out, new RegExp(`^${open}  complete  1 pages`));
  assert.equal(out.trimEnd().split('\n').length, 1);
  assert.match(
    err,
    /^warning: \S+-02-00:00:00 and 1 more could not be looked into: permission denied; try again as root\n$/,
  );
});
