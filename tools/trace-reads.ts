/**
 * Which pages of a dump a program reads: the evidence behind pass 0.
 *
 *     node tools/trace-reads.ts DUMP PROGRAM [ARGUMENT…]      `{}` among the arguments is the dump's path
 *     node tools/trace-reads.ts vmcore makedumpfile --dump-dmesg {} /tmp/dmesg
 *
 * The dump is written again with every page raw in a block of its own, so that the offset of a read names the page. The
 * program runs under strace, which also makes every mmap of the file fail: libkdumpfile then reads instead of mapping, and
 * nothing is touched unseen. Prints the pfns in the order of first touch, and those that pass 0 does not hold.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRange } from '../src/base/ranges.ts';
import { openVmcore } from '../src/format/open.ts';
import { nodeCodecs, nodeCrc32 } from '../src/host/codecs.ts';
import { openFileSource } from '../src/host/file-source.ts';
import { planEssentialPages } from '../src/kernel/essential-pages.ts';
import { PagedMemory } from '../src/kernel/memory.ts';
import { encodeNotes, type PlacedKdump, writePlacedKdump } from '../test/support/kernel-kdump.ts';

const PAGE = 4096;
const SYSCALLS = 'read,pread64,readv,preadv,lseek,mmap';

/** Runs `command` under strace on the file that `placed` describes. @returns pfns in the order of first touch. */
export function traceReads(placed: PlacedKdump, path: string, command: readonly string[]): number[] {
  const folder = mkdtempSync(join(tmpdir(), 'trace-reads-'));
  try {
    const log = join(folder, 'strace');
    const options = ['-f', '-o', log, '-P', path, '-e', `trace=${SYSCALLS}`, '-e', 'inject=mmap:error=ENODEV'];
    const { status, error, stderr } = spawnSync('strace', [...options, ...command], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${command[0]} ended with ${status}: ${error?.message ?? stderr}`);
    return pagesOf(placed, parseReads(readFileSync(log, 'utf8')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface FileRead {
  readonly offset: number;
  readonly length: number;
}

/** The reads in a log of strace, seeks applied. A file description that was duplicated would share its position; none is. */
function parseReads(log: string): FileRead[] {
  const positions = new Map<string, number>();
  const reads: FileRead[] = [];
  for (const line of log.split('\n')) {
    const seek = /lseek\((\d+),.*= (\d+)$/.exec(line);
    if (seek) positions.set(seek[1] as string, Number(seek[2]));
    const positioned = /pread(?:64|v)\(.*, (\d+)\)\s+= (\d+)$/.exec(line);
    if (positioned) reads.push({ offset: Number(positioned[1]), length: Number(positioned[2]) });
    const plain = / readv?\((\d+),.*\)\s+= (\d+)$/.exec(line);
    if (!plain) continue;
    const [fd, length] = [plain[1] as string, Number(plain[2])];
    const offset = positions.get(fd) ?? 0;
    reads.push({ offset, length });
    positions.set(fd, offset + length);
  }
  return reads;
}

function pagesOf({ dataOffset, pfns }: PlacedKdump, reads: readonly FileRead[]): number[] {
  const touched = new Set<number>();
  for (const { offset, length } of reads) {
    const first = Math.max(0, Math.floor((offset - dataOffset) / PAGE));
    for (let rank = first; dataOffset + rank * PAGE < offset + length && rank < pfns.length; rank++)
      touched.add(pfns[rank] as number);
  }
  return [...touched];
}

function main([dump = '', ...words]: readonly string[]): void {
  const folder = mkdtempSync(join(tmpdir(), 'trace-reads-'));
  const path = join(folder, 'placed');
  const vmcore = openVmcore(openFileSource(dump), { codecs: nodeCodecs(), crc: nodeCrc32 });
  try {
    const placed = writePlacedKdump({ path, vmcore, notes: encodeNotes(vmcore) });
    const pfns = traceReads(
      placed,
      path,
      words.map((word) => (word === '{}' ? path : word)),
    );
    const plan = planEssentialPages({ ...vmcore, physical: new PagedMemory(vmcore) });
    const missing = pfns.filter((pfn) => findRange(plan.ranges, pfn) < 0);
    console.log(pfns.map((pfn) => pfn.toString(16)).join(' '));
    console.log(
      `${pfns.length} pages read; not in pass 0: ${missing.map((pfn) => pfn.toString(16)).join(' ') || 'none'}`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === import.meta.filename) main(process.argv.slice(2));
