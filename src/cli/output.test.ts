import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testIo, testTerminal } from '../../test/support/terminal.ts';
import { escapeControls, formatTable, toJson } from './output.ts';

test('bytes larger and smaller than the buffer come out in order', () => {
  const terminal = testTerminal();
  const io = testIo({}, terminal);
  const expected: Uint8Array[] = [];
  for (const length of [1, 65_535, 65_536, 3, 200_000, 7]) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 0xff);
    io.write(bytes);
    expected.push(bytes.slice());
    bytes.fill(0);
  }
  io.flush();
  assert.ok(Buffer.concat(expected).equals(terminal.outBytes()));
});

test('a bigint is a hexadecimal string in JSON', () => {
  assert.equal(toJson({ address: 0xffffffff81000000n, count: 3 }), '{"address":"0xffffffff81000000","count":3}');
});

test('control characters of a dump cannot reach the terminal', () => {
  assert.equal(escapeControls('a\tb\x1b[2J\x07\n\x9b0mé'), 'a\tb\\x1b[2J\\x07\\x0a\\x9b0mé');
});

test('columns are as wide as their widest cell, numbers to the right', () => {
  assert.deepEqual(
    formatTable(
      [
        ['pfn', 'n'],
        ['a', '1000'],
      ],
      [1],
    ),
    ['pfn     n', 'a    1000'],
  );
  assert.deepEqual(formatTable([]), []);
});

test('colour only on a terminal without NO_COLOR', () => {
  assert.equal(testIo({}, testTerminal()).style('red', 'x'), 'x');
  assert.equal(testIo({}, testTerminal({ outIsTty: true })).style('red', 'x'), '\x1b[31mx\x1b[39m');
  assert.equal(testIo({}, testTerminal({ outIsTty: true, env: { NO_COLOR: '1' } })).style('red', 'x'), 'x');
  assert.equal(testIo({}, testTerminal({ outIsTty: true })).style('red', 'x', 'err'), 'x');
});

test('progress is one line on a terminal, nothing in a pipe, and makes room for other lines', () => {
  const piped = testTerminal();
  testIo({}, piped).progress({ label: 'saving', unit: 'bytes' }).update(1);
  assert.equal(piped.err(), '');

  const terminal = testTerminal({ errIsTty: true, columns: 30 });
  const io = testIo({}, terminal);
  const progress = io.progress({ label: 'saving', total: 100 << 20, unit: 'bytes' });
  terminal.clock.nowMs += 1000;
  progress.update(50 << 20);
  progress.update(51 << 20);
  assert.equal(terminal.err(), `\r${'saving  50%  50.0 MiB of 100 MiB  52.4 MB/s  1.00 s left'.slice(0, 29)}\x1b[K`);
  io.note('a line');
  progress.stop();
  assert.ok(terminal.err().endsWith('\r\x1b[Ka line\n'));
});

test('warnings come through --quiet, details only with --verbose', () => {
  const terminal = testTerminal();
  const quiet = testIo({ quiet: true }, terminal);
  quiet.note('note');
  quiet.detail('detail');
  quiet.warn('careful');
  assert.equal(terminal.err(), 'warning: careful\n');
});
