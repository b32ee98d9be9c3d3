/** Where the log's ring lies in memory, and the log out of nothing but those pieces: what the log area keeps. */

import type { Paddr, Vaddr } from '../base/address.ts';
import { NoDataError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { type Mapping, MemoryReader, type VirtualMemory } from './memory.ts';
import { type LogEnd, type LogRecord, type PrintkRing, readPrintkRing, walkLog } from './printk.ts';
import { findPrintkLayout, type PrintkLayout } from './printk-layout.ts';
import { parseVmcoreinfo } from './vmcoreinfo.ts';

/** The ring's pieces by name; each may come as several ranges where it is not contiguous in physical memory. */
export type LogRingPart = 'prb' | 'ring' | 'descs' | 'infos' | 'data';

/** One contiguous piece of the ring. */
export interface LogRingRange {
  readonly part: LogRingPart;
  readonly vaddr: Vaddr;
  readonly paddr: Paddr;
  /** Bytes. */
  readonly length: number;
}

/** Pieces of the ring by virtual address, before they are placed in physical memory. */
export interface LogRingPiece {
  readonly part: LogRingPart;
  readonly vaddr: Vaddr;
  readonly length: number;
}

/** Ranges at most; a ring in more pieces is damaged, for the kernel allocates each array at once. */
const RANGES_MAX = 65536;

/**
 * The physical ranges that hold the log: the pointer `prb`, the ring's head, descriptors, infos, text.
 *
 * @throws as `readPrintkRing`; NoDataError where a part is not mapped.
 */
export function findLogRings(memory: VirtualMemory, layout: PrintkLayout): LogRingRange[] {
  const ranges: LogRingRange[] = [];
  for (const piece of listLogRing(readPrintkRing(memory, layout), layout)) {
    for (const mapping of walkMappings(memory, piece.vaddr, piece.length)) {
      const last = ranges.at(-1);
      if (last?.part === piece.part && last.paddr + last.length === mapping.paddr)
        ranges[ranges.length - 1] = { ...last, length: last.length + mapping.length };
      else ranges.push({ part: piece.part, ...mapping });
      if (ranges.length > RANGES_MAX)
        throw new NoDataError('LOG_RING_PIECES', `the printk ring lies in more than ${RANGES_MAX} pieces`);
    }
  }
  return ranges;
}

/** The pieces of a ring, in the order in which a reader needs them. */
export function listLogRing(ring: PrintkRing, layout: PrintkLayout): LogRingPiece[] {
  return [
    { part: 'prb', vaddr: layout.prb, length: 8 },
    { part: 'ring', vaddr: ring.address, length: layout.ring.size },
    { part: 'descs', vaddr: ring.descs, length: ring.count * layout.desc.size },
    { part: 'infos', vaddr: ring.infos, length: ring.count * layout.info.size },
    { part: 'data', vaddr: ring.data, length: ring.dataSize },
  ];
}

/** The physical pieces of `length` bytes from `vaddr` on, as the page tables cut them. @throws as `translate`. */
export function* walkMappings(
  memory: VirtualMemory,
  vaddr: Vaddr,
  length: number,
): Generator<Mapping & { vaddr: Vaddr }, void, undefined> {
  for (let done = 0; done < length; ) {
    const at = vaddr + BigInt(done);
    const mapping = memory.translate(at);
    const part = Math.min(mapping.length, length - done);
    yield { vaddr: at, paddr: mapping.paddr, length: part };
    done += part;
  }
}

/** Bytes that were saved from one stretch of virtual addresses. */
export interface SavedSegment {
  readonly vaddr: Vaddr;
  readonly bytes: Uint8Array;
}

/** {@link VirtualMemory} of nothing but saved segments; there is no physical memory behind it. */
export class SegmentMemory implements VirtualMemory {
  readonly #segments: readonly SavedSegment[];

  constructor(segments: Iterable<SavedSegment>) {
    this.#segments = [...segments];
  }

  translate(vaddr: Vaddr): Mapping {
    throw new NoDataError('NOT_MAPPED', `not mapped: saved segments have no page tables to look up ${hex(vaddr)}`);
  }

  readVirtual(target: Uint8Array, vaddr: Vaddr): void {
    for (let done = 0; done < target.length; ) {
      const at = vaddr + BigInt(done);
      const segment = this.#segments.find(
        (candidate) => at >= candidate.vaddr && at < candidate.vaddr + BigInt(candidate.bytes.length),
      );
      if (!segment)
        throw new NoDataError(
          'NOT_MAPPED',
          `reading ${target.length} bytes at vaddr ${hex(vaddr)}: not saved at ${hex(at)}`,
        );
      const from = Number(at - segment.vaddr);
      const part = segment.bytes.subarray(from, from + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }
}

/**
 * The log out of saved ring segments and the text of vmcoreinfo, as a log area keeps them.
 *
 * @throws as `findPrintkLayout` and `readPrintkRing`.
 */
export function walkLogOfSegments(
  vmcoreinfo: Uint8Array,
  segments: Iterable<SavedSegment>,
): Generator<LogRecord, LogEnd, undefined> {
  return walkLog(new SegmentMemory(segments), findPrintkLayout(parseVmcoreinfo(vmcoreinfo)));
}

/** As {@link walkLogOfSegments}, all records at once. */
export function readLogFromSegments(
  vmcoreinfo: Uint8Array,
  segments: Iterable<SavedSegment>,
): { records: LogRecord[]; end: LogEnd } {
  const records: LogRecord[] = [];
  const walk = walkLogOfSegments(vmcoreinfo, segments);
  for (let step = walk.next(); ; step = walk.next()) {
    if (step.done) return { records, end: step.value };
    records.push(step.value);
  }
}

/** True where the pointer `prb` still leads to the ring that `ranges` describe: what `status` checks after arming. */
export function isRingUnchanged(memory: VirtualMemory, layout: PrintkLayout, ranges: readonly LogRingRange[]): boolean {
  const ring = ranges.find((range) => range.part === 'ring');
  return ring !== undefined && new MemoryReader(memory).u64(layout.prb) === ring.vaddr;
}
