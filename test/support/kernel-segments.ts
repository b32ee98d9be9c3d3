/** Kernel memory of nothing but saved stretches, as a log area keeps them. */

import { NoDataError } from '../../src/base/errors.ts';
import { findLogRings } from '../../src/kernel/log-rings.ts';
import type { VirtualMemory } from '../../src/kernel/memory.ts';
import type { Kernel } from '../../src/kernel/open.ts';

/** Bytes that were saved from one stretch of virtual addresses. */
export interface SavedSegment {
  readonly vaddr: bigint;
  readonly bytes: Uint8Array;
}

/** Reads the ring's ranges by physical address, as the fallback script does. */
export function saveRings(kernel: Kernel): SavedSegment[] {
  return findLogRings(kernel.memory, kernel.printkLayout).map(({ vaddr, paddr, length }) => {
    const bytes = new Uint8Array(length);
    kernel.physical.readPhysical(bytes, paddr);
    return { vaddr, bytes };
  });
}

/** Memory in which only `segments` exist. */
export function segmentMemory(segments: readonly SavedSegment[]): VirtualMemory {
  const lost = (vaddr: bigint): NoDataError => new NoDataError('NOT_MAPPED', `not saved: 0x${vaddr.toString(16)}`);
  return {
    translate: (vaddr) => {
      throw lost(vaddr);
    },
    readVirtual(target, vaddr) {
      for (let i = 0; i < target.length; i++) {
        const at = vaddr + BigInt(i);
        const segment = segments.find(({ vaddr: start, bytes }) => at >= start && at < start + BigInt(bytes.length));
        if (!segment) throw lost(at);
        target[i] = segment.bytes[Number(at - segment.vaddr)] as number;
      }
    },
  };
}
