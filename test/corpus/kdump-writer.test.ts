/** What our writer made of real dumps, opened by the tools that everybody has: drgn, makedumpfile, crash. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { normalizeRanges } from '../../src/base/ranges.ts';
import { CODEC_FLAG } from '../../src/codec/codec.ts';
import { isZeroPage } from '../../src/codec/zero.ts';
import { KdumpWriter } from '../../src/format/kdump/writer.ts';
import { prstatusNotes, walkNotes } from '../../src/format/notes.ts';
import type { PageRun, Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { createFileSink } from '../../src/host/file-sink.ts';
import { openKernel } from '../../src/kernel/open.ts';
import { buildNote, concat, readPlainKdump } from '../support/kdump-builder.ts';
import { withCorpusDump } from '../support/kernel-corpus.ts';
import { diffPageLists, listPages, type PageList, parsePageList } from '../support/page-list.ts';

/** Tries every page of the given runs and prints those that drgn gives, as the corpus lists them. */
const DRGN_PAGES = `
import sys, hashlib, drgn
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
zero = bytes(4096)
for start, end in (map(int, run.split('-')) for run in sys.argv[2].split(',')):
    for pfn in range(start, end):
        try:
            page = prog.read(pfn * 4096, 4096, physical=True)
        except drgn.FaultError:
            continue
        print('%x %s' % (pfn, 'Z' if page == zero else hashlib.sha256(page).hexdigest()[:16]))
`;

const CASES = [
  { name: 's1-6.1-sysrq', codec: CODEC_FLAG.zlib, list: 'pages-d31' },
  { name: 's3-6.1-kdump', codec: CODEC_FLAG.raw, list: 'pages-d31' },
  { name: 's7-6.1-qemu-small', codec: CODEC_FLAG.zlib, list: 'pages' },
] as const;

for (const { name, codec, list } of CASES) {
  test(`${name} rewritten: every page by drgn, log and refilter by makedumpfile, release by crash`, () => {
    withCorpusDump(name, ({ vmcore, path, truth }, folder) => {
      const ours = join(folder, 'ours');
      const expected = parsePageList(truth(`${list}.txt.gz`).toString());
      rewrite(vmcore, ours, codec);

      const plain = readPlainKdump(readFileSync(ours));
      assert.equal(plain.pages.size, expected.size);

      const memory = normalizeRanges([...vmcore.walkPages(), { start: vmcore.maxMapnr, end: vmcore.maxMapnr + 9 }]);
      const runs = memory.map(({ start, end }) => `${start}-${end}`).join(',');
      const seen = run('/usr/bin/python3', ['-c', DRGN_PAGES, ours, runs]);
      assert.equal(diffPageLists(parsePageList(seen), expected), '');

      const log = join(folder, 'log');
      run('makedumpfile', ['--dump-dmesg', ours, log]);
      // In the truth of s3 the build path of a module was taken out, so the lines before it count.
      const lines = (text: string): string => text.slice(0, text.indexOf('crashme'));
      assert.equal(lines(readFileSync(log, 'utf8')), lines(truth('makedumpfile-dmesg.txt').toString()));

      assert.match(run('crash', ['--osrelease', ours]), /^6\.1\.0-56-cloud-amd64$/m);
      if (list === 'pages') return;

      // The same filter over the original and over ours gives the same pages.
      for (const [input, output] of [
        [path, 'refiltered-original'],
        [ours, 'refiltered-ours'],
      ] as const) {
        run('makedumpfile', ['-c', '-d', '31', input, join(folder, output)]);
      }
      const again = (file: string): PageList => pagesOf(readFileSync(join(folder, file)));
      assert.equal(diffPageLists(again('refiltered-ours'), again('refiltered-original')), '');
    });
  });
}

/** Through the reader and the writer, page by page, with a proof for each. */
function rewrite(vmcore: Vmcore, target: string, codec: number): void {
  const kernel = openKernel(vmcore);
  const sink = createFileSink(target);
  const writer = new KdumpWriter(sink);
  const runs = [...vmcore.walkPages()];
  const notes = concat(vmcore.notes.map((note) => buildNote(note.owner, note.type, note.desc)));
  const info = walkNotes(notes).find((note) => note.owner === 'VMCOREINFO');
  writer.start({
    // libkdumpfile believes a utsname only when sysname stands in it too, and knows the architecture from nothing else.
    utsname: vmcore.header.utsname ?? kernel.readUtsname(),
    timestampSeconds: vmcore.header.timestampSeconds ?? 0,
    pageSize: vmcore.pageSize,
    maxMapnr: vmcore.maxMapnr,
    present: runs,
    // Room for more than come, as when pages are struck on the way.
    storedMax: countPages(runs) + 1000,
    dumpLevel: vmcore.header.dumpLevel ?? 1,
    // makedumpfile walks page tables with the header's value and asks no note.
    physBase: kernel.physBase ?? 0,
    cpuCount: prstatusNotes(vmcore.notes).length,
    notes,
    ...(info === undefined ? {} : { vmcoreinfo: { offset: info.descOffset, length: info.desc.length } }),
    codec,
  });
  const page = new Uint8Array(vmcore.pageSize);
  const stored = new Uint8Array(vmcore.pageSize);
  const compressor = nodeCodecs().get(codec);
  for (const { start, end, presence } of runs) {
    if (presence !== 'stored' && presence !== 'zero') continue;
    for (let pfn = start; pfn < end; pfn++) {
      vmcore.readPage(pfn, page);
      const checksum = nodeCrc32(page);
      const length = compressor?.compress(page, stored) ?? 0;
      if (isZeroPage(page, 0, page.length)) writer.appendPage(pfn, { flags: 0, length: 0, checksum }, page);
      else if (length > 0) writer.appendPage(pfn, { flags: codec, length, checksum }, stored);
      else writer.appendPage(pfn, { flags: CODEC_FLAG.raw, length: page.length, checksum }, page);
    }
  }
  writer.finish({ incomplete: false });
  sink.close();
}

function countPages(runs: readonly PageRun[]): number {
  return runs.reduce((sum, { start, end }) => sum + end - start, 0);
}

function pagesOf(file: Uint8Array): PageList {
  const { pages } = readPlainKdump(file);
  return listPages({
    pageSize: 4096,
    walkPages: () => [...pages.keys()].map((pfn) => ({ start: pfn, end: pfn + 1, presence: 'stored' as const })),
    readPage: (pfn: number, target: Uint8Array) => target.set(pages.get(pfn) as Uint8Array),
  });
}

function run(command: string, words: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, words, { encoding: 'utf8', maxBuffer: 2 ** 28 });
  assert.equal(status, 0, `${command} ${words.join(' ')}: ${error ?? stderr}`);
  return stdout;
}
