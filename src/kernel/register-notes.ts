/** Which CPUs were online at the panic and left no registers: they did not answer the stop. */

import { findSymbols } from './kallsyms.ts';
import { MemoryReader } from './memory.ts';
import type { Kernel } from './open.ts';

/** CPUs of a crashed kernel, by number. */
export interface CpuNotes {
  readonly online: readonly number[];
  /** Of these, the ones whose note in memory is empty. */
  readonly silent: readonly number[];
}

/** More CPUs than any configured kernel has. */
const CPUS_MAX = 8192;
/** n_type of the note's head at its place in `Elf64_Nhdr`; the whole of it is zero until the CPU saves its registers. */
const NOTE_TYPE_OFFSET = 8n;

/**
 * Looks at each online CPU's slot of `crash_notes`, which `crash_save_cpu` fills when the CPU stops.
 *
 * Says nothing of dumps that a hypervisor took: their register notes are the virtual CPUs' and not the kernel's.
 * Source: Linux `kernel/crash_core.c`, `crash_notes`, `crash_save_cpu` (before 6.8 `kernel/kexec_core.c`); `kernel/cpu.c`,
 * `__cpu_online_mask`.
 *
 * @returns `undefined` where the kernel's symbols do not lead there.
 * @throws NoDataError where a page on the way is not in the dump.
 */
export function findCpuNotes(kernel: Kernel): CpuNotes | undefined {
  const symbols = findSymbols(kernel.memory, kernel.vmcoreinfo, [
    '__cpu_online_mask',
    '__per_cpu_offset',
    'crash_notes',
    'nr_cpu_ids',
  ]);
  const onlineMask = symbols?.get('__cpu_online_mask');
  const perCpuOffsets = symbols?.get('__per_cpu_offset');
  const crashNotes = symbols?.get('crash_notes');
  const nrCpuIds = symbols?.get('nr_cpu_ids');
  if (onlineMask === undefined || perCpuOffsets === undefined) return undefined;
  if (crashNotes === undefined || nrCpuIds === undefined) return undefined;
  const reader = new MemoryReader(kernel.memory);
  const notes = reader.u64(crashNotes);
  const count = Math.min(reader.u32(nrCpuIds), CPUS_MAX);
  const online: number[] = [];
  const silent: number[] = [];
  for (let cpu = 0; cpu < count; cpu++) {
    const word = reader.u64(onlineMask + 8n * BigInt(cpu >>> 6));
    if (((word >> BigInt(cpu & 63)) & 1n) === 0n) continue;
    online.push(cpu);
    const area = reader.u64(perCpuOffsets + 8n * BigInt(cpu));
    const type = reader.u32(BigInt.asUintN(64, notes + area + NOTE_TYPE_OFFSET));
    if (type === 0) silent.push(cpu);
  }
  return { online, silent };
}
