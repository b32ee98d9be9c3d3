/** Where the log's ring lies in memory: what the log area keeps, and what pass 0 begins with. */

import type { Paddr, Vaddr } from '../base/address.ts';
import { NoDataError } from '../base/errors.ts';
import type { Mapping, VirtualMemory } from './memory.ts';
import { type PrintkRing, readPrintkRing } from './printk.ts';
import type { PrintkLayout } from './printk-layout.ts';

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
