/** When the kernel crashed and when it booted, from what a dump says without types. */

import type { Vmcoreinfo } from './vmcoreinfo.ts';

/** Wall-clock times, whole seconds since 1970, each absent where nothing tells it. */
export interface KernelTimes {
  /** From vmcoreinfo's CRASHTIME; a snapshot of a kernel that did not crash through kexec has none. */
  readonly crashTimeSeconds?: number;
  readonly bootTimeSeconds?: number;
  /** What the boot time was counted back from. `header`: the dump's own date, which is when it was taken. */
  readonly bootTimeFrom?: 'CRASHTIME' | 'header';
}

/** What {@link findTimes} looks at. */
export interface TimeFacts {
  readonly vmcoreinfo: Vmcoreinfo;
  /** Date in the file's header, seconds since 1970. */
  readonly headerSeconds?: number | undefined;
  /** Time stamp of the newest log record, nanoseconds since boot. */
  readonly lastStampNs: bigint | undefined;
}

/**
 * The boot time is the moment of the crash less the newest time stamp of the log: the kernel prints until it dies, and CRASHTIME
 * is taken just after. Good to a second or two for a kernel that panicked; too late by the silence before the dump for a
 * hung one. Time stamps do not count suspended time.
 */
export function findTimes({ vmcoreinfo, headerSeconds, lastStampNs }: TimeFacts): KernelTimes {
  const crashTimeSeconds = vmcoreinfo.crashTimeSeconds;
  const end = crashTimeSeconds ?? (headerSeconds === undefined || headerSeconds <= 0 ? undefined : headerSeconds);
  const crash = crashTimeSeconds === undefined ? {} : { crashTimeSeconds };
  if (end === undefined || lastStampNs === undefined) return crash;
  const uptimeSeconds = Number(lastStampNs / 1_000_000_000n);
  return {
    ...crash,
    bootTimeSeconds: end - uptimeSeconds,
    bootTimeFrom: crashTimeSeconds === undefined ? 'header' : 'CRASHTIME',
  };
}
