/** Every page of every dump of the corpus whose format is read, against the lists that other readers made. */

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { UnsupportedError } from '../../src/base/errors.ts';
import { bytesSource } from '../../src/base/source.ts';
import { collectInfo } from '../../src/cli/dump-info.ts';
import { openVmcore } from '../../src/format/open.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { type DrgnTruth, withCorpusDump } from '../support/kernel-corpus.ts';
import { diffPageLists, listPages, parsePageList } from '../support/page-list.ts';

const FORMATS = resolve(import.meta.dirname, '../..', process.env.DISKDUMP_CORPUS ?? '../shared/corpus', 'formats');

/** Dump, its list of pages, and what `info` says of it. */
const DUMPS = [
  { name: 's1-6.1-sysrq', list: 'pages-d31', cpus: 1, panic: /sysrq triggered crash/, format: 'kdump' },
  { name: 's2-6.12-null-smp2', list: 'pages-d31', cpus: 2, panic: /Fatal exception|NULL pointer/, format: 'kdump' },
  { name: 's3-6.1-kdump', list: 'pages-d31', cpus: 2, panic: /kernel BUG at/, format: 'kdump' },
  { name: 's5-6.1-hung-numa', list: 'pages-d31', cpus: 2, panic: /hung_task: blocked tasks/, format: 'kdump' },
  { name: 's6-arm64-6.1-bug', list: 'pages', cpus: 2, panic: undefined, format: 'elf' },
  { name: 's7-6.1-qemu-small', list: 'pages', cpus: 1, panic: /deliberate panic, code 1234/, format: 'elf' },
] as const;

for (const { name, list, cpus, panic, format } of DUMPS) {
  test(`${name}: every page, and the counts`, () => {
    withCorpusDump(name, ({ vmcore, truth }) => {
      const expected = parsePageList(truth(`${list}.txt.gz`).toString());
      const counts = vmcore.countPages();
      assert.equal(diffPageLists(listPages(vmcore), expected), '');
      assert.equal(counts.stored, expected.size);
      assert.equal(vmcore.state, 'complete');
      if (list !== 'pages-d31') return;
      const summary = truth('pages-d31.summary.txt').toString();
      assert.equal(counts.stored, Number(/'pages': (\d+)/.exec(summary)?.[1]));
      assert.equal(counts.zero, Number(/'zero': (\d+)/.exec(summary)?.[1]));
    });
  });

  test(`${name}: what info says`, () => {
    withCorpusDump(name, ({ vmcore, truth }) => {
      const { program } = JSON.parse(truth('drgn.json.gz').toString()) as DrgnTruth;
      const info = collectInfo(vmcore);
      assert.equal(info.format, format);
      assert.equal(info.arch, program.machine);
      assert.equal(info.release, program.release);
      assert.equal(info.cpus, cpus);
      // Page tables of arm64 are not read yet, so what lies in its memory stays unknown.
      if (panic === undefined) return;
      assert.equal(info.version, program.version);
      assert.equal(info.nodename, program.nodename);
      assert.match(info.panic?.message ?? '', panic);
      assert.deepEqual(info.problems, []);
    });
  });
}

test('s3: crash time, boot time, and a CPU each for the registers', () => {
  withCorpusDump('s3-6.1-kdump', ({ vmcore }) => {
    const info = collectInfo(vmcore);
    assert.deepEqual([info.crashTime, info.crashTimeFrom], [1_795_230_218, 'CRASHTIME']);
    assert.ok((info.bootTime ?? 0) < 1_795_230_218 && (info.bootTime ?? 0) > 1_795_230_100);
    assert.deepEqual(info.cpusWithoutRegisters, []);
    assert.equal(info.dumpLevel, 31);
  });
});

const read = (name: string): Uint8Array => {
  const bytes = readFileSync(join(FORMATS, name));
  return name.endsWith('.gz') ? gunzipSync(bytes) : bytes;
};
const open = (name: string): Vmcore =>
  openVmcore(bytesSource(new Uint8Array(read(name)), name), { codecs: nodeCodecs(), crc: nodeCrc32 });

test('formats/: each file is read whole, or says by name what is missing', () => {
  const mini = parsePageList(readFileSync(join(FORMATS, 'mini.pages.txt'), 'utf8'));
  const outcomes = new Map<string, string>();
  for (const name of readdirSync(FORMATS).filter((entry) => !entry.endsWith('.txt'))) {
    try {
      const found = listPages(open(name));
      const whole = name.startsWith('mini') && found.size === mini.size;
      for (const [pfn, what] of found) if (name.startsWith('mini')) assert.equal(what, mini.get(pfn), name);
      outcomes.set(name, whole ? 'whole' : `${found.size} pages`);
    } catch (error) {
      assert.ok(error instanceof UnsupportedError, `${name}: ${error}`);
      outcomes.set(name, /lzo|snappy|flattened|32-bit/.exec(error.message)?.[0] ?? error.message);
    }
  }
  assert.deepEqual(Object.fromEntries([...outcomes].sort()), {
    'mini.E.d0.elf': 'whole',
    'mini.E.d1.elf': '23 pages',
    'mini.E.d1.flattened': 'flattened',
    'mini.c.d0.kdump': 'whole',
    'mini.c.d1.cut-short.kdump': '63 pages',
    'mini.c.d1.kdump': 'whole',
    'mini.elf': 'whole',
    'mini.l.d0.kdump': 'lzo',
    'mini.l.d1.flattened': 'flattened',
    'mini.l.d1.kdump': 'lzo',
    'mini.none.d0.kdump': 'whole',
    'mini.none.d1.kdump': 'whole',
    'mini.p.d0.kdump': 'snappy',
    'mini.p.d1.kdump': 'snappy',
    'mini.z.d0.kdump': 'whole',
    'mini.z.d1.kdump': 'whole',
    'qemu-aarch64-smp2.elf.gz': '1024 pages',
    'qemu-aarch64-smp2.kdump-zlib.flattened': 'flattened',
    'qemu-i386.elf.gz': '1088 pages',
    'qemu-i386.kdump-zlib.flattened': 'flattened',
    'qemu-i386.part-10000-30000.elf': '32 pages',
    'qemu-x86_64-smp3.elf.gz': '1088 pages',
    'qemu-x86_64-smp3.kdump-zlib.flattened': 'flattened',
    'qemu-x86_64-smp3.part-10000-30000.elf': '32 pages',
  });
});

test('a part that QEMU dumped is that part of the whole', () => {
  for (const machine of ['qemu-i386', 'qemu-x86_64-smp3']) {
    const whole = listPages(open(`${machine}.elf.gz`));
    for (const [pfn, what] of listPages(open(`${machine}.part-10000-30000.elf`))) {
      assert.equal(what, whole.get(pfn), `${machine}, pfn ${pfn}`);
    }
  }
});
