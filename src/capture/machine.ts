/** What is dumped: the crashed kernel seen from its capture kernel, a guest, the live kernel, or a dump file. */

import type { Range } from '../base/ranges.ts';
import type { MACHINE_KIND } from '../format/kdump/log-layout.ts';
import type { ArchName, VirtualSegment } from '../format/vmcore.ts';

export type MachineKind = keyof typeof MACHINE_KIND;

/**
 * A machine whose memory can be read.
 *
 * To add one: list the pfns that exist, hand out the notes, and read whole pages. `read` fills `target` wholly or throws
 * any `DumpError`; the engine then halves the range down to the page, so a driver need not find the bad one. Memory
 * that does not change while it is read is best; where it does, give `freeze` and `resume`.
 */
export interface Machine {
  /** As on the command line: `vmcore:/proc/vmcore`, `qemu:SOCKET`, a path. */
  readonly name: string;
  readonly kind: MachineKind;
  readonly arch: ArchName;
  readonly pageSize: number;
  /** Pfns that exist and can be read, sorted and disjoint. */
  readonly ranges: readonly Range[];
  /** Pfns that exist and were left out by a filter before us; none where absent. */
  readonly excluded?: readonly Range[];
  /** What that filter left out: the bits of makedumpfile's `-d`. */
  readonly dumpLevel?: number;
  /** First pfn past the end of memory, where that is more than the ranges tell. */
  readonly maxMapnr?: number;
  /** The bytes of the PT_NOTE segment: registers of the CPUs, VMCOREINFO. Copied into the dump as they are. */
  readonly notes: Uint8Array;
  /** Virtual mappings that the machine tells, such as /proc/vmcore's segments; may be empty. */
  readonly segments: readonly VirtualSegment[];
  /** Fills `target` (whole pages) from `pfn` on, all of it inside one range. */
  read(pfn: number, target: Uint8Array): void;
  freeze?(): void;
  resume?(): void;
}
