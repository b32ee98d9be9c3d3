/**
 * How long it takes to open a dump of 3 GiB and print its kernel log, as a whole command, beside makedumpfile's
 * `--dump-dmesg` on the same file.
 *
 *     node bench/open-log.ts [DUMP]
 *
 * Without DUMP the file is made: a real dump of the corpus (`DISKDUMP_CORPUS`, else `../shared/corpus`) with pages of noise behind
 * it until it has 3 GiB. Both commands write to a file; they take turns, and the median counts. Budget: 0.15 s.
 */

import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KdumpWriter } from '../src/format/kdump/writer.ts';
import { type findNote, VMCOREINFO_OWNER } from '../src/format/notes.ts';
import { openVmcore } from '../src/format/open.ts';
import { nodeCodecs, nodeCrc32 } from '../src/host/codecs.ts';
import { createFileSink } from '../src/host/file-sink.ts';
import { openFileSource } from '../src/host/file-source.ts';
import { ROOT } from '../tools/build.ts';
import { median, runMeasured } from './measure.ts';

const BYTES = 3 * 2 ** 30;
const PAGE = 4096;
const ROUNDS = 11;
const BUDGET_SECONDS = 0.15;

const scratch = mkdtempSync(join(tmpdir(), 'diskdump-bench-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

const dump = process.argv[2] ?? makeDump(join(scratch, 'vmcore'));
const ours = [join(ROOT, 'bin/diskdump'), 'log', dump];
const out = join(scratch, 'dmesg');
const peer = ['makedumpfile', '--dump-dmesg', '-f', dump, out];
const rows = { ours: [] as number[], peer: [] as number[] };
let rss = { ours: 0, peer: 0 };
for (let round = 0; round <= ROUNDS; round++) {
  const fd = openSync(join(scratch, 'log'), 'w');
  const a = await runMeasured(ours, { stdout: fd });
  closeSync(fd);
  const b = await runMeasured(peer, {});
  if (a.code !== 0 || b.code !== 0) throw new Error(`exit codes ${a.code} and ${b.code}`);
  if (round === 0) continue;
  rows.ours.push(a.seconds);
  rows.peer.push(b.seconds);
  rss = { ours: Math.max(rss.ours, a.peakRssBytes), peer: Math.max(rss.peer, b.peakRssBytes) };
}
const lines = readFileSync(join(scratch, 'log'), 'utf8').split('\n').length - 1;
console.log(`dump of ${(statSync(dump).size / 2 ** 30).toFixed(2)} GiB, ${lines} lines of log, ${ROUNDS} rounds`);
print('diskdump log', rows.ours, rss.ours);
print('makedumpfile --dump-dmesg', rows.peer, rss.peer);
console.log(`ratio ${(median(rows.ours) / median(rows.peer)).toFixed(2)}, budget ${BUDGET_SECONDS} s`);
if (median(rows.ours) > BUDGET_SECONDS) {
  console.log('over the budget');
  process.exitCode = 1;
}

function print(name: string, seconds: readonly number[], peak: number): void {
  const sorted = [...seconds].sort((x, y) => x - y);
  const [least, most] = [sorted[0]!, sorted.at(-1)!];
  console.log(
    `${name.padEnd(28)} ${median(seconds).toFixed(3)} s  (${least.toFixed(3)} to ${most.toFixed(3)}), peak RSS ${Math.round(peak / 2 ** 20)} MiB`,
  );
}

function makeDump(path: string): string {
  const corpus = process.env.DISKDUMP_CORPUS ?? join(ROOT, '../shared/corpus');
  const seed = join(corpus, 's1-6.1-sysrq/vmcore.kdump-zlib-d31');
  if (!existsSync(seed)) throw new Error(`no dump to start from: ${seed} is missing; name a DUMP`);
  const source = openVmcore(openFileSource(seed), { codecs: nodeCodecs(), crc: nodeCrc32 });
  const noise = Math.ceil((BYTES - statSync(seed).size) / PAGE);
  const notes = encodeNotes(source.notes);
  const maxMapnr = source.maxMapnr + noise;
  const sink = createFileSink(path);
  const writer = new KdumpWriter(sink);
  const runs = [...source.walkPages()].map(({ start, end }) => ({ start, end }));
  writer.start({
    utsname: source.header.utsname!,
    timestampSeconds: source.header.timestampSeconds ?? 0,
    pageSize: PAGE,
    maxMapnr,
    present: [...merge(runs), { start: source.maxMapnr, end: maxMapnr }],
    storedMax: source.countPages().stored + noise,
    dumpLevel: 31,
    physBase: source.header.physBase ?? 0,
    cpuCount: 1,
    notes: notes.bytes,
    vmcoreinfo: notes.vmcoreinfo,
    codec: 1,
  });
  const page = new Uint8Array(PAGE);
  for (const run of source.walkPages()) {
    if (run.presence !== 'stored' && run.presence !== 'zero') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) writer.appendPage(pfn, source.readStored(pfn, page), page);
  }
  for (let pfn = source.maxMapnr; pfn < maxMapnr; pfn++) {
    if (pfn % 256 === 0) randomFillSync(page);
    page[pfn % PAGE]! ^= 1;
    writer.appendPage(pfn, { flags: 0, length: PAGE }, page);
  }
  writer.finish({ incomplete: false });
  sink.close();
  return path;
}

function merge(runs: readonly { start: number; end: number }[]): { start: number; end: number }[] {
  const merged: { start: number; end: number }[] = [];
  for (const run of runs) {
    const last = merged.at(-1);
    if (last && last.end === run.start) last.end = run.end;
    else merged.push({ ...run });
  }
  return merged;
}

/** The notes as the bytes of a PT_NOTE segment. */
function encodeNotes(notes: Parameters<typeof findNote>[0]) {
  const parts: Buffer[] = [];
  let vmcoreinfo: { offset: number; length: number } | undefined;
  let at = 0;
  for (const { owner, type, desc } of notes) {
    const head = Buffer.alloc(12 + Math.ceil((owner.length + 1) / 4) * 4);
    head.writeUInt32LE(owner.length + 1, 0);
    head.writeUInt32LE(desc.length, 4);
    head.writeUInt32LE(type, 8);
    head.write(owner, 12, 'latin1');
    const body = Buffer.alloc(Math.ceil(desc.length / 4) * 4);
    body.set(desc);
    if (owner === VMCOREINFO_OWNER) vmcoreinfo = { offset: at + head.length, length: desc.length };
    parts.push(head, body);
    at += head.length + body.length;
  }
  return { bytes: new Uint8Array(Buffer.concat(parts)), vmcoreinfo };
}
