/** How much memory this machine has, and where: what decides the size of its dump. */

import { readFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { normalizeRanges, type Range, subtractRanges } from '../base/ranges.ts';

/** In pages and pfns, as a dump counts them. */
export interface MachineMemory {
  /** Bytes. */
  readonly pageSize: number;
  /** Pages that a dump would hold: System RAM without the part that the capture kernel lives in. */
  readonly pages: number;
  /** First pfn past the end of memory. */
  readonly maxMapnr: number;
  readonly ranges: number;
  readonly cpus: number;
  /** `MemTotal` is less than a dump takes: the kernel's own image, its page array and firmware tables are not in it. */
  readonly from: 'iomem' | 'MemTotal';
}

/** This machine. Where /proc/iomem hides its addresses (it shows them to root alone), MemTotal without its holes. */
export function readMachineMemory(proc = '/proc'): MachineMemory {
  const pageSize = readPageSize(proc);
  const ram = readSystemRam(proc);
  const cpus = availableParallelism();
  if (ram.length === 0) return { ...plainMemory(totalmem(), pageSize), cpus, from: 'MemTotal' };
  const pages = ram.reduce((sum, { start, end }) => sum + Math.ceil(end / pageSize) - Math.floor(start / pageSize), 0);
  const maxMapnr = Math.ceil((ram.at(-1)?.end ?? 0) / pageSize);
  return { pageSize, pages, maxMapnr, ranges: ram.length, cpus, from: 'iomem' };
}

/** A machine of which only the amount of memory is known: a PC with its hole of 1 GiB below 4 GiB. */
export function plainMemory(bytes: number, pageSize: number): Omit<MachineMemory, 'cpus' | 'from'> {
  const hole = bytes > 3 * 2 ** 30 ? 2 ** 30 : 0;
  return { pageSize, pages: Math.ceil(bytes / pageSize), maxMapnr: Math.ceil((bytes + hole) / pageSize), ranges: 8 };
}

/** Source: Linux `kernel/resource.c`: top-level lines are not indented; the reservation lies inside of one. */
function readSystemRam(proc: string): Range[] {
  const ram: Range[] = [];
  const reserved: Range[] = [];
  for (const line of readText(join(proc, 'iomem')).split('\n')) {
    const match = /^( *)([0-9a-f]+)-([0-9a-f]+) : (System RAM|Crash kernel)$/.exec(line);
    if (!match) continue;
    const range = { start: Number.parseInt(match[2] as string, 16), end: Number.parseInt(match[3] as string, 16) + 1 };
    if (range.end <= 1) continue;
    if (match[4] === 'Crash kernel') reserved.push(range);
    else if (match[1] === '') ram.push(range);
  }
  return subtractRanges(normalizeRanges(ram), normalizeRanges(reserved));
}

/** Bytes of a page, from the auxiliary vector. Source: Linux `include/uapi/linux/auxvec.h`, AT_PAGESZ. */
export function readPageSize(proc = '/proc'): number {
  const AT_PAGESZ = 6n;
  try {
    const bytes = readFileSync(join(proc, 'self/auxv'));
    const words = new BigUint64Array(Uint8Array.from(bytes).buffer);
    for (let i = 0; i + 1 < words.length; i += 2) if (words[i] === AT_PAGESZ) return Number(words[i + 1]);
  } catch {
    // No /proc: the usual size.
  }
  return 4096;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
