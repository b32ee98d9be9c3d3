/** What stage 1 must know of a machine before it writes: the kernel's own facts, and the pages to have first. */

import { DumpError } from '../base/errors.ts';
import type { Range } from '../base/ranges.ts';
import type { Utsname } from '../format/vmcore.ts';
import { planEssentialPages } from '../kernel/essential-pages.ts';
import { Kernel, machineFacts } from '../kernel/open.ts';
import type { Machine } from './machine.ts';
import type { MachineFacts } from './target.ts';

/** A machine that was looked at. */
export interface ExaminedMachine {
  readonly facts: MachineFacts;
  /** Pfns of pass 0. */
  readonly essential: readonly Range[];
  /** What could not be found out, and why: reasons for a poorer dump, never for none. */
  readonly remarks: readonly string[];
}

/**
 * Fills what is not known of a utsname. libkdumpfile 0.5.1, and drgn with it, refuses a header in which system name, release,
 * version or machine is empty.
 */
function fillUtsname(known: Utsname | undefined, release: string | undefined, machine: string): Utsname {
  return {
    sysname: known?.sysname || 'Linux',
    nodename: known?.nodename ?? '',
    release: known?.release || release || 'unknown',
    version: known?.version || '#unknown',
    machine: known?.machine || machine,
    domainname: known?.domainname ?? '',
  };
}

/**
 * Looks at a machine. Reads some hundred pages; whatever the machine does not give is left out.
 *
 * @param known what is known otherwise, such as a dump file's header.
 */
export function examineMachine(
  machine: Machine,
  known: { readonly utsname?: Utsname; readonly physBase?: number; readonly crashSeconds?: number } = {},
): ExaminedMachine {
  const remarks: string[] = [];
  const attempt = <T>(what: string, find: () => T): T | undefined => {
    try {
      return find();
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      remarks.push(`${what}: ${error.message}`);
      return undefined;
    }
  };
  const kernelFacts = machineFacts(machine);
  const kernel = attempt('vmcoreinfo', () => new Kernel(kernelFacts));
  const name = attempt('name of the kernel', () => kernel?.readUtsname()) ?? known.utsname;
  const utsname = fillUtsname(name, kernel?.vmcoreinfo.osRelease, machine.arch);
  const physBase = attempt('phys_base', () => kernel?.physBase) ?? known.physBase ?? 0;
  const crashSeconds = kernel?.vmcoreinfo.crashTimeSeconds ?? known.crashSeconds ?? 0;
  const pass0 = attempt('pages of pass 0', () => planEssentialPages(kernelFacts));
  for (const { part, reason } of pass0?.skipped ?? []) remarks.push(`${part}: ${reason}`);
  return { facts: { utsname, physBase, crashSeconds }, essential: pass0?.ranges ?? [], remarks };
}
