/** `save` as the operator and the boot call it: which devices count, what is said, how a run is interrupted. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder, sparseFile } from '../../../test/driver/scratch.ts';
import { buildElf } from '../../../test/support/elf-builder.ts';
import { runCli } from '../../../test/support/terminal.ts';

const MIB = 2 ** 20;

/** A formatted file with a dump of 1 MiB on it. */
async function deviceWithDump(): Promise<string> {
  const source = join(scratchFolder(), 'vmcore');
  writeFileSync(source, buildElf({ segments: [{ paddr: 0n, data: new Uint8Array(randomBytes(MIB)) }] }));
  const device = sparseFile(16 * MIB);
  const formatted = await runCli('format', device, '--for-ram', '1M', '--log-area', '64K', '--sample-rate', '4');
  assert.equal(formatted.code, 0, formatted.err);
  const captured = await runCli('capture', source, '--to', device);
  assert.equal(captured.code, 0, captured.err);
  return device;
}

function configFile(devices: readonly string[]): string {
  const path = join(scratchFolder(), 'diskdump.toml');
  writeFileSync(path, `devices = ${JSON.stringify(devices)}\n`);
  return path;
}

test('a configured device that is no dump device is a warning; the dump of another is saved, exit 0', async () => {
  const [device, blank, directory] = [await deviceWithDump(), sparseFile(4 * MIB), scratchFolder()];
  const config = configFile([blank, '/nonexistent/disk', device]);
  const { code, out, err } = await runCli('save', '--config', config, '--to', directory, '--json');
  assert.equal(code, 0, err);
  assert.equal(JSON.parse(out).state, 'complete');
  assert.match(
    err,
    /^warning: .*device carries no label of diskdump\nhint: .*`diskdump check .*take it out of `devices`/m,
  );
  assert.match(err, /^warning: open of \/nonexistent\/disk: no such file or directory \(ENOENT\)$/m);
  const again = await runCli('save', '--config', config, '--to', directory);
  assert.deepEqual([again.code, again.out], [0, 'nothing to save\n']);
  assert.match(again.err, /^warning: /);
});

test('a device that is named is an error', async () => {
  const blank = sparseFile(4 * MIB);
  const directory = scratchFolder();
  const { code, out, err } = await runCli('save', blank, '--to', directory);
  assert.deepEqual([code, out], [3, '']);
  assert.match(err, /^diskdump: .* carries no label of diskdump\nhint: /);
  assert.equal((await runCli('save', '/nonexistent/disk', '--to', directory)).code, 5);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  const wrong = await runCli('save', blank, '--to', file);
  assert.equal(wrong.code, 2);
  assert.match(wrong.err, /it is not a directory\nhint: name a directory with --to/);
});

test('list makes no directory', async () => {
  const absent = join(scratchFolder(), 'crash');
  const { code, out, err } = await runCli('list', '--to', absent);
  assert.deepEqual([code, out, err, existsSync(absent)], [0, '', `nothing was saved in ${absent}\n`, false]);
});

test('no log in the dump: said on stdout, and no empty file', async () => {
  const [device, directory] = [await deviceWithDump(), scratchFolder()];
  const { code, out } = await runCli('save', device, '--to', directory);
  assert.equal(code, 0);
  assert.match(out, /: complete dump, 256 pages.*\n {2}no vmcore-dmesg\.txt: .*VMCOREINFO/i);
  const [saved] = readdirSync(directory);
  assert.equal(existsSync(join(directory, saved!, 'vmcore-dmesg.txt')), false);
});

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} while pages are copied: said, nothing left behind, exit ${expected}`, async () => {
    const [device, directory] = [await deviceWithDump(), scratchFolder()];
    const before = process.listenerCount(signal);
    const sending = setInterval(() => {
      if (process.listenerCount(signal) > before) process.emit(signal, signal);
    }, 1);
    const { code, err } = await runCli('save', device, '--to', directory, '--json');
    clearInterval(sending);
    assert.equal(code, expected);
    assert.match(err, new RegExp(`interrupted by ${signal}, nothing is lost`));
    assert.match(err, /"code":"INTERRUPTED"/);
    assert.deepEqual(readdirSync(directory), []);
    assert.equal(process.listenerCount(signal), before);
    const { code: later, out } = await runCli('save', device, '--to', directory);
    assert.equal(later, 0);
    assert.match(out, /complete dump, 256 pages/);
  });
}
