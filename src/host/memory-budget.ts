/**
 * Will the reserved memory do? A forecast of MemAvailable in the capture kernel when stage 1 ends.
 *
 * The kernel's share is read off the running kernel, which is the same one; the rest are constants measured in QEMU
 * guests with 6.1 and 6.12, cloud and generic, at crashkernel=160M to 256M.
 */

import { readFileSync } from 'node:fs';

/** What the forecast goes by. All in bytes. */
export interface MemoryFacts {
  /** Reserved by `crashkernel=`. */
  readonly reservedBytes: number;
  /** Code, rodata, data and bss of the kernel. */
  readonly kernelBytes: number;
  /** The whole initramfs, unpacked into memory. */
  readonly initramfsBytes: number;
  readonly moduleBytes: number;
}

/** The forecast, with its parts. All in bytes. */
export interface MemoryBudget extends MemoryFacts {
  /** Page structs, tables and buffers that the kernel takes before anything starts. */
  readonly bootBytes: number;
  /** What the running kernel and PID 1 hold: slab, stacks, per-CPU areas, watermarks. */
  readonly runtimeBytes: number;
  /** Anonymous memory of stage 1 at its end. */
  readonly stage1Bytes: number;
  /** MemAvailable when stage 1 ends. Negative: it would be killed. */
  readonly spareBytes: number;
  readonly verdict: 'good' | 'tight' | 'too small';
}

const MIB = 2 ** 20;
/** Below this `arm` warns. */
export const SPARE_WARN_BYTES = 16 * MIB;
/** Below this `arm` refuses. */
export const SPARE_MIN_BYTES = 8 * MIB;

const PAGE_BYTES = 4096;
/** Source: Linux 6.12 `include/linux/mm_types.h`: a struct page is 64 bytes. */
const PAGE_STRUCT_BYTES = 64;
/** MemTotal below reserved − kernel − page structs: 8.0 to 9.2 MiB in the four kernels. */
const BOOT_BYTES = 8.6 * MIB;
/** MemTotal − MemAvailable − initramfs − anonymous memory of stage 1: 22.2 to 22.6 MiB in the four kernels. */
const RUNTIME_BYTES = 22.4 * MIB;
/** What stage 1 holds at its end: with 6.1 and 6.12, cloud and generic, forecast and measurement then differ by at most 1.7 MiB. */
const STAGE1_BYTES = 31.5 * MIB;

/** The forecast for `facts`. */
export function forecastMemory(facts: MemoryFacts): MemoryBudget {
  const bootBytes = Math.round((facts.reservedBytes / PAGE_BYTES) * PAGE_STRUCT_BYTES + BOOT_BYTES);
  const runtimeBytes = Math.round(RUNTIME_BYTES + facts.moduleBytes);
  const stage1Bytes = STAGE1_BYTES;
  const spareBytes =
    facts.reservedBytes - facts.kernelBytes - facts.initramfsBytes - bootBytes - runtimeBytes - stage1Bytes;
  const verdict = spareBytes < SPARE_MIN_BYTES ? 'too small' : spareBytes < SPARE_WARN_BYTES ? 'tight' : 'good';
  return { ...facts, bootBytes, runtimeBytes, stage1Bytes, spareBytes, verdict };
}

/** The smallest `crashkernel=` in steps of 16 MB that leaves no warning, in bytes. */
export function suggestReservation(budget: MemoryBudget): number {
  const missing = SPARE_WARN_BYTES - budget.spareBytes;
  const step = 16 * MIB;
  const perByte = 1 - PAGE_STRUCT_BYTES / PAGE_BYTES;
  return Math.ceil((budget.reservedBytes + missing / perByte) / step) * step;
}

/**
 * Bytes of the running kernel's code, rodata, data and bss, from /proc/iomem; `undefined` where addresses are hidden.
 * Source: Linux 6.12 `arch/x86/kernel/setup.c`, `code_resource` and its neighbours.
 */
export function readKernelBytes(iomem = '/proc/iomem'): number | undefined {
  let bytes = 0;
  for (const line of readFileSync(iomem, 'utf8').split('\n')) {
    const match = /^\s*([0-9a-f]+)-([0-9a-f]+) : Kernel (code|rodata|data|bss)$/.exec(line);
    if (match) bytes += Number.parseInt(match[2]!, 16) + 1 - Number.parseInt(match[1]!, 16);
  }
  return bytes > PAGE_BYTES ? bytes : undefined;
}
