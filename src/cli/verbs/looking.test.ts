/** `info` and `pages` over small dumps, as the operator calls them. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { buildKdump, buildPage } from '../../../test/support/kdump-builder.ts';
import { parsePageList } from '../../../test/support/page-list.ts';
import { runCli, testTerminal } from '../../../test/support/terminal.ts';
import { runApp } from '../app.ts';
import type { DumpInfo } from '../dump-info.ts';

const SMALL = join(import.meta.dirname, '..', '..', '..', 'test', 'corpus-small', 'formats');
const MAIN = join(import.meta.dirname, '..', 'main.ts');
let folder = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'diskdump-looking-'));
});
after(() => rmSync(folder, { recursive: true }));

function place(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const unpack = (name: string): string => place(name, gunzipSync(readFileSync(join(SMALL, `${name}.gz`))));

test('pages prints what the corpus says, zero runs merged', async () => {
  const truth = readFileSync(join(SMALL, 'mini.pages.txt'), 'utf8');
  for (const name of ['mini.c.d1.kdump', 'mini.elf', 'mini.z.d0.kdump']) {
    const { code, out, err } = await runCli('pages', unpack(name));
    assert.deepEqual([code, err], [0, '']);
    assert.deepEqual(parsePageList(out), parsePageList(truth));
    assert.match(out, /^1-5 Z$/m);
    assert.match(out, /^5000-501f Z$/m);
  }
});

test('pages --sha256 prints whole digests, a single zero page is a run of one', async () => {
  const page = buildPage(3);
  const path = place(
    'one',
    buildKdump({
      pages: [
        { pfn: 3, bytes: page },
        { pfn: 9, bytes: 'zero' },
      ],
    }),
  );
  const { out } = await runCli('pages', '--sha256', path);
  const lines = out.trim().split('\n');
  assert.match(lines[0] ?? '', /^3 [0-9a-f]{64}$/);
  assert.equal(lines[1], '9-9 Z');
});

test('a damaged page is named and costs only itself; the exit code says it', async () => {
  const pages = [1, 2, 3].map((pfn) => ({ pfn, bytes: buildPage(pfn), codec: 'zlib' as const }));
  const bytes = buildKdump({ pages });
  // The last page's stream ends the file.
  bytes.fill(0xff, bytes.length - 30);
  const { code, out, err } = await runCli('pages', place('damaged', bytes));
  assert.equal(code, 3);
  assert.equal(out.trim().split('\n').length, 2);
  assert.match(err, /page 0x3 of .*damaged.*zlib/);
});

test('a codec that is not at hand is said once', async () => {
  const pages = [1, 2].map((pfn) => ({ pfn, bytes: new Uint8Array(99).fill(1), codec: 'lzo' as const }));
  const { code, err } = await runCli('pages', place('lzo', buildKdump({ pages })));
  assert.equal(code, 3);
  assert.match(err, /^diskdump: page 0x1 of .* is compressed with lzo, which is not read yet\nhint: .*\n$/);
});

test('info --json has the documented shape', async () => {
  const { code, out } = await runCli('info', '--json', unpack('mini.c.d1.kdump'));
  const info = JSON.parse(out) as DumpInfo;
  assert.equal(code, 0);
  assert.equal(info.schema, 'diskdump.info/1');
  assert.equal(info.format, 'kdump');
  assert.equal(info.state, 'complete');
  assert.equal(info.arch, 'x86_64');
  assert.equal(info.pageSize, 4096);
  assert.equal(info.cpus, 1);
  assert.deepEqual(info.pages, { maxPfn: 0x40008, present: 72, stored: 72, zero: 54, excluded: 0 });
  assert.deepEqual(info.compression, { zlib: 10, raw: 8 });
  assert.deepEqual(info.notes, [
    { owner: 'CORE', type: 1, size: 336 },
    { owner: 'QEMU', type: 0, size: 440 },
  ]);
  assert.equal(info.problems.length, 1, 'there is no log without VMCOREINFO');
});

test('info on a partial dump says why, and is no error', async () => {
  const { code, out, err } = await runCli('info', unpack('mini.c.d1.cut-short.kdump'));
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^format +kdump version 6, partial, pages of 4\.00 KiB$/m);
  assert.match(out, /^ +the file ends before its last pages$/m);
  assert.match(out, /^missing +9 pages/m);
});

test('info tells pages that a filter left out from pages that are cut off', async () => {
  const pages = [1, 2, 3, 4].map((pfn) => ({ pfn, bytes: buildPage(pfn) }));
  const whole = buildKdump({ dumpLevel: 31, pages, alsoPresent: [8, 9] });
  const missing = async (name: string, bytes: Uint8Array): Promise<string | undefined> =>
    /^missing +(.*)$/m.exec((await runCli('info', place(name, bytes))).out)?.[1];
  assert.equal(await missing('filtered', whole), '2 pages (8.00 KiB), excluded at dump level 31');
  const cut = whole.subarray(0, whole.length - 4096);
  assert.equal(
    await missing('filtered-cut', cut),
    '3 pages (12.0 KiB), 1 of them holes: not captured, or cut off, 2 excluded at dump level 31',
  );
  const { pages: counts } = JSON.parse((await runCli('info', '--json', place('filtered-cut', cut))).out) as DumpInfo;
  assert.deepEqual([counts.excluded, counts.holes], [3, 1]);
});

test('info of a partial vmcore points to the record that save wrote beside it', async () => {
  const beside = join(folder, '127.0.0.1-2026-01-01-00:00:00');
  mkdirSync(beside);
  const vmcore = join(beside, 'vmcore');
  writeFileSync(vmcore, readFileSync(unpack('mini.c.d1.cut-short.kdump')));
  assert.equal((await runCli('info', vmcore)).err, '');
  writeFileSync(join(beside, 'info.json'), '{}');
  assert.match((await runCli('info', vmcore)).err, /^info\.json beside it says why/);
});

test('check says once that a codec is not read, and does not send to itself', async () => {
  const pages = [1, 2].map((pfn) => ({ pfn, bytes: new Uint8Array(99).fill(1), codec: 'lzo' as const }));
  const { code, out } = await runCli('check', place('check-lzo', buildKdump({ pages })));
  assert.equal(code, 1);
  assert.match(
    out,
    /: complete, 0 pages read, 0 zero\n {2}2 pages are compressed with lzo, which is not read yet: .*\n$/,
  );
  const short = await runCli('check', place('short', buildKdump().subarray(0, 100)));
  assert.equal(short.code, 3);
  assert.match(short.err, /the file has 100 bytes\nhint: (?!.*diskdump check)/);
});

test('check of a file that a cut format left is that of a disk', async () => {
  const bytes = new Uint8Array(2 ** 20);
  bytes.set(new TextEncoder().encode('diskdump'));
  const { code, out } = await runCli('check', place('cut-format', bytes), '--json');
  const { state, problems } = JSON.parse(out);
  assert.deepEqual([code, state, problems.length], [1, 'foreign', 1]);
  assert.match(problems[0], /a format that was cut, or the original diskdump/);
});

test('info lets no control character of a dump through', async () => {
  const path = place('rude', buildKdump({ pages: [{ pfn: 1, bytes: buildPage(1) }], machine: 'x86_64' }));
  const bytes = readFileSync(path);
  bytes.set(new TextEncoder().encode('6.1\u001b[2J'), 12 + 130);
  const { out } = await runCli('info', place('rude', bytes));
  assert.match(out, /^kernel +6\.1\\x1b\[2J, x86_64$/m);
});

test('an empty file and a pipe are named as such', async () => {
  for (const verb of ['info', 'pages'])
    assert.match(
      (await runCli(verb, place('empty', new Uint8Array(0)))).err,
      /^diskdump: opening .*empty: it is empty\n/,
    );
  // check answers for devices too.
  assert.equal((await runCli('check', place('empty', new Uint8Array(0)))).code, 1);
  const pipe = spawnSync('sh', ['-c', 'echo x | "$0" "$1" info /dev/stdin', process.execPath, MAIN], {
    encoding: 'utf8',
  });
  assert.equal(pipe.status, 3);
  assert.match(pipe.stderr, /it is a pipe, which can only be read from front to end\nhint: .*in a file first/);
});

test('the total of progress is what the dump gives, not where its memory ends', async () => {
  const pages = [1, 2, 2 ** 20].map((pfn) => ({ pfn, bytes: buildPage(3) }));
  const path = place('sparse', buildKdump({ pages, maxMapnr: 2 ** 20 + 1 }));
  for (const verb of ['pages', 'check']) {
    const terminal = testTerminal({ errIsTty: true });
    assert.equal(await runApp([verb, path], terminal), 0);
    assert.match(terminal.err(), /of 12\.0 KiB/);
  }
});

test('what is no dump, or not there, is unreadable input', async () => {
  for (const path of [place('text', new TextEncoder().encode('hello')), folder, join(folder, 'absent')]) {
    for (const verb of ['info', 'pages']) {
      const { code, err } = await runCli(verb, path);
      assert.equal(code, 3, err);
      assert.match(err, /^diskdump: /);
    }
  }
});
