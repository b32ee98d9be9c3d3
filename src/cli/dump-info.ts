/** What a dump holds, as a value: the answer of `diskdump info`. */

import { DumpError } from '../base/errors.ts';
import { prstatusNotes } from '../format/notes.ts';
import type { PageCounts, Utsname, Vmcore } from '../format/vmcore.ts';
import { type Kernel, openKernel } from '../kernel/open.ts';
import { type PanicFacts, PanicFinder } from '../kernel/panic.ts';
import { type CpuNotes, findCpuNotes } from '../kernel/register-notes.ts';
import { findTimes } from '../kernel/times.ts';

/** The document of `info --json`. Times are whole seconds since 1970. */
export interface DumpInfo {
  readonly schema: 'diskdump.info/1';
  readonly file: string;
  readonly format: string;
  /** Of the format's header. */
  readonly formatVersion?: number;
  readonly state: 'complete' | 'partial';
  readonly partialReason?: string;
  readonly arch: string;
  readonly pageSize: number;
  readonly release?: string;
  readonly version?: string;
  readonly nodename?: string;
  readonly panic?: PanicFacts;
  readonly crashTime?: number;
  /** `header`: the dump's own date, which is when it was taken; the kernel did not say when it crashed. */
  readonly crashTimeFrom?: 'CRASHTIME' | 'header';
  readonly bootTime?: number;
  readonly cpus: number;
  /** CPUs that were online and left no registers; absent where that cannot be told. */
  readonly cpusWithoutRegisters?: readonly number[];
  readonly pages: {
    readonly maxPfn: number;
    readonly present: number;
    readonly stored: number;
    readonly zero: number;
    /** Present and not stored, whatever the reason. */
    readonly excluded: number;
    /** Of these, the ones that no filter left out: unreadable, never reached, or cut off with the end of the file. */
    readonly holes?: number;
  };
  /** Stored pages by codec. */
  readonly compression: PageCounts['byCodec'];
  readonly dumpLevel?: number;
  readonly notes: readonly { readonly owner: string; readonly type: number; readonly size: number }[];
  readonly passes?: readonly {
    readonly name: string;
    readonly complete: boolean;
    readonly planned: number;
    readonly stored: number;
  }[];
  /** Bytes. */
  readonly kaslrOffset?: bigint;
  /** Bytes; may be negative. */
  readonly physBase?: number;
  /** What could not be found out, and why: one sentence each. */
  readonly problems: readonly string[];
}

/**
 * Gathers everything that `info` prints. Reads the whole page table and the whole log; what the dump does not give is
 * left out and named in `problems`.
 */
export function collectInfo(vmcore: Vmcore): DumpInfo {
  const problems: string[] = [];
  const kernel = openKernel(vmcore);
  const counts = vmcore.countPages();
  const missing = Math.max(0, counts.present - counts.stored);
  return defined({
    schema: 'diskdump.info/1',
    file: vmcore.name,
    format: vmcore.format,
    formatVersion: vmcore.header.version,
    state: vmcore.state,
    partialReason: vmcore.partialReason,
    arch: vmcore.arch,
    pageSize: vmcore.pageSize,
    ...identity(vmcore, kernel, problems),
    ...end(vmcore, kernel, problems),
    ...cpuFacts(vmcore, kernel),
    pages: {
      maxPfn: vmcore.maxMapnr,
      present: counts.present,
      stored: counts.stored,
      zero: counts.zero,
      excluded: missing,
      ...(missing > 0 && { holes: countHoles(vmcore) }),
    },
    compression: counts.byCodec,
    dumpLevel: vmcore.header.dumpLevel,
    notes: vmcore.notes.map((note) => ({ owner: note.owner, type: note.type, size: note.desc.length })),
    passes: vmcore.header.passes?.map(({ name, complete, planned, stored }) => ({ name, complete, planned, stored })),
    kaslrOffset: kernel.vmcoreinfo.kaslrOffset,
    physBase: findPhysBase(vmcore, kernel),
    problems,
  });
}

/** Goes through the page table once more, so only where something is missing. */
function countHoles(vmcore: Vmcore): number {
  let holes = 0;
  for (const run of vmcore.walkPages()) if (run.presence === 'hole') holes += run.end - run.start;
  return holes;
}

interface Identity {
  readonly release: string | undefined;
  readonly version: string | undefined;
  readonly nodename: string | undefined;
}

/** From the header where its writer knew the kernel, else from the kernel's memory; the release also from vmcoreinfo. */
function identity(vmcore: Vmcore, kernel: Kernel, problems: string[]): Identity {
  const header = vmcore.header.utsname;
  const utsname = header?.release ? header : attempt('utsname', problems, () => readUtsname(vmcore, kernel));
  return {
    release: utsname?.release ?? kernel.vmcoreinfo.osRelease,
    version: utsname?.version,
    nodename: utsname?.nodename,
  };
}

function readUtsname(vmcore: Vmcore, kernel: Kernel): Utsname | undefined {
  return vmcore.vmcoreinfo === undefined ? undefined : kernel.readUtsname();
}

interface End {
  readonly panic: PanicFacts | undefined;
  readonly crashTime: number | undefined;
  readonly crashTimeFrom: DumpInfo['crashTimeFrom'] | undefined;
  readonly bootTime: number | undefined;
}

function end(vmcore: Vmcore, kernel: Kernel, problems: string[]): End {
  const finder = new PanicFinder();
  let lastStampNs: bigint | undefined;
  attempt('log', problems, () => {
    for (const record of kernel.walkLog()) {
      finder.add(record);
      lastStampNs = record.tsNs;
    }
  });
  const headerSeconds = vmcore.header.timestampSeconds;
  const times = findTimes({ vmcoreinfo: kernel.vmcoreinfo, headerSeconds, lastStampNs });
  const date = headerSeconds !== undefined && headerSeconds > 0 ? headerSeconds : undefined;
  return {
    panic: finder.find(),
    crashTime: times.crashTimeSeconds ?? date,
    crashTimeFrom: times.crashTimeSeconds !== undefined ? 'CRASHTIME' : date === undefined ? undefined : 'header',
    bootTime: times.bootTimeSeconds,
  };
}

function cpuFacts(
  vmcore: Vmcore,
  kernel: Kernel,
): Pick<DumpInfo, 'cpus'> & { cpusWithoutRegisters?: readonly number[] } {
  const withRegisters = prstatusNotes(vmcore.notes).length;
  // A hypervisor notes the registers of every virtual CPU, whatever the kernel in it did.
  const hypervisor = vmcore.notes.some((note) => note.owner === 'QEMU');
  const cpus = hypervisor ? undefined : attempt<CpuNotes | undefined>('CPUs', [], () => findCpuNotes(kernel));
  if (cpus === undefined) return { cpus: withRegisters };
  return { cpus: Math.max(cpus.online.length, withRegisters), cpusWithoutRegisters: cpus.silent };
}

function findPhysBase(vmcore: Vmcore, kernel: Kernel): number | undefined {
  return attempt('phys_base', [], () => kernel.physBase) ?? vmcore.header.physBase;
}

/** A fact that cannot be had is no error of `info`. */
function attempt<T>(what: string, problems: string[], find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    problems.push(`${what}: ${error.message}`);
    return undefined;
  }
}

type Optional<T> = { [K in keyof T]: undefined extends T[K] ? T[K] | undefined : T[K] };

/** Drops the fields that are `undefined`: a fact that is not known is absent. */
function defined(info: { [K in keyof DumpInfo]: DumpInfo[K] | undefined } & Optional<object>): DumpInfo {
  return Object.fromEntries(Object.entries(info).filter(([, value]) => value !== undefined)) as unknown as DumpInfo;
}
