import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { KernelBuilder, START_KERNEL_MAP } from '../../../test/support/kernel-builder.ts';
import { writeBuiltKernel } from '../../../test/support/kernel-kdump.ts';
import { type CliResult, runCli } from '../../../test/support/terminal.ts';

/** A dump of a kernel that said three things, in a file of its own. */
async function withDump(
  work: (path: string) => Promise<void>,
  change: (builder: KernelBuilder, dataPfn: number) => void = () => {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'log-'));
  try {
    const builder = new KernelBuilder();
    builder.lines.push('CRASHTIME=1795230218');
    const ring = builder.ring(
      [
        { text: 'hello', tsNs: 0n, level: 5, callerId: 0 },
        { text: 'first\nsecond', tsNs: 1_500_000_000n, level: 3, callerId: 0x80000001 },
        { text: 'bad \x1b[31m', tsNs: 11_208_891_697n, level: 0, callerId: 7, subsystem: 'pci', device: '+pci:1' },
      ],
      { sizeBits: 13, firstLpos: 4096n },
    );
    change(builder, (Number(ring.data - START_KERNEL_MAP) + 4096 + builder.physBase) >>> 12);
    const path = join(folder, 'vmcore');
    writeBuiltKernel(builder, path);
    await work(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const lines = ({ out }: CliResult): string[] => out.trimEnd().split('\n');

test('text like crash, with levels, dates and a choice of levels', () =>
  withDump(async (path) => {
    assert.deepEqual(await runCli('log', path), {
      code: 0,
      out: '[    0.000000] hello\n[    1.500000] first\n               second\n[   11.208891] bad .[31m\n',
      outBytes: (await runCli('log', path)).outBytes,
      err: '',
    });
    assert.equal(lines(await runCli('log', '-m', path))[0], '[    0.000000] <5>hello');
    const dated = await runCli('log', path, '-T', '--level', 'err,0');
    assert.deepEqual(lines(dated), [
      '[Sat Nov 21 03:03:28 UTC 2026] first',
      `${' '.repeat('[Sat Nov 21 03:03:28 UTC 2026] '.length)}second`,
      '[Sat Nov 21 03:03:38 UTC 2026] bad .[31m',
    ]);
    assert.equal((await runCli('log', path, '-Tlerr')).code, 2, 'a letter that takes a value begins its own word');
    const attached = await runCli('log', path, '-lerr,0', '-T');
    assert.equal(attached.out, dated.out);
    assert.match(dated.err, /boot at Sat Nov 21 03:03:27 UTC 2026: CRASHTIME less the last time stamp/);
  }));

test('-T of a dump that has no date is a matter of the dump, not of usage', () =>
  withDump(
    async (path) => {
      const { code, err } = await runCli('log', path, '-T');
      assert.equal(code, 3);
      assert.match(err, /nor a date in the header .*\nhint: without -T/);
    },
    (builder) => builder.lines.splice(builder.lines.indexOf('CRASHTIME=1795230218'), 1),
  ));

test('the bytes of vmcore-dmesg', () =>
  withDump(async (path) => {
    const { out } = await runCli('log', path, '--dmesg');
    assert.equal(out, '[    0.000000] hello\n[    1.500000] first\nsecond\n[   11.208891] bad \\x1b[31m\n');
  }));

test('a record a line as JSON', () =>
  withDump(async (path) => {
    const documents = lines(await runCli('log', path, '--json')).map((line) => JSON.parse(line));
    assert.deepEqual(documents, [
      { seq: 0, tsNs: '0x0', level: 5, facility: 0, caller: 'T0', text: 'hello' },
      { seq: 1, tsNs: '0x59682f00', level: 3, facility: 0, caller: 'C1', text: 'first\nsecond' },
      {
        seq: 2,
        tsNs: '0x29c1a1d31',
        level: 0,
        facility: 0,
        caller: 'T7',
        text: 'bad \x1b[31m',
        subsystem: 'pci',
        device: '+pci:1',
      },
    ]);
  }));

test('a log that is not whole: what there is, what is missing, exit code 4', () =>
  withDump(
    async (path) => {
      const { code, out, err } = await runCli('log', path);
      assert.equal(code, 4);
      assert.equal(out, '');
      assert.match(err, /warning: log: 3 records could not be read, 0 were\n/);
      assert.match(err, /was excluded at dump level 31/);
    },
    (builder, dataPfn) => builder.lose(dataPfn),
  ));

test('a dump without vmcoreinfo says what is missing', () =>
  withDump(
    async (path) => {
      const { code, err } = await runCli('log', path);
      assert.equal(code, 3);
      assert.match(err, /SYMBOL\(prb\)/);
    },
    (builder) => builder.lines.splice(1),
  ));

test('words that are no level, and forms that do not go together, are refused', () =>
  withDump(async (path) => {
    const level = await runCli('log', path, '-l', 'loud');
    assert.equal(level.code, 2);
    assert.match(level.err, /'loud' is no log level/);
    assert.equal((await runCli('log', path, '--dmesg', '--json')).code, 2);
  }));
