/** A kernel opened from its dump: memory, addresses, log, names. */

import { NoDataError } from '../base/errors.ts';
import { findNote, VMCOREINFO_OWNER, walkNotes } from '../format/notes.ts';
import type { ArchName, Utsname, VirtualSegment, Vmcore } from '../format/vmcore.ts';
import type { AddressSpace } from './arch/arch.ts';
import { getArch } from './arch/table.ts';
import {
  type MachinePages,
  machinePages,
  PagedMemory,
  type PhysicalMemory,
  TranslatedMemory,
  type VirtualMemory,
} from './memory.ts';
import { type LogEnd, type LogRecord, walkLog } from './printk.ts';
import { findPrintkLayout, type PrintkLayout } from './printk-layout.ts';
import { openStructFacts } from './struct-facts.ts';
import { readUtsname } from './uts.ts';
import { parseVmcoreinfo, type Vmcoreinfo } from './vmcoreinfo.ts';

/** What a kernel is opened from. */
export interface KernelFacts {
  readonly arch: ArchName;
  readonly physical: PhysicalMemory;
  /** Text of the VMCOREINFO note. */
  readonly vmcoreinfo: Uint8Array | undefined;
  readonly headerPhysBase?: number | undefined;
  readonly segments?: readonly VirtualSegment[] | undefined;
}

/** An open kernel. Cheap: nothing is read before it is asked for. */
export class Kernel {
  readonly arch: ArchName;
  readonly vmcoreinfo: Vmcoreinfo;
  readonly physical: PhysicalMemory;
  readonly #facts: KernelFacts;
  #space: AddressSpace | undefined;
  #memory: VirtualMemory | undefined;
  #layout: PrintkLayout | undefined;

  constructor(facts: KernelFacts) {
    this.#facts = facts;
    this.arch = facts.arch;
    this.physical = facts.physical;
    this.vmcoreinfo = parseVmcoreinfo(facts.vmcoreinfo ?? new Uint8Array(0));
  }

  /** @throws UnsupportedError where the architecture's page tables are not read yet. */
  get addressSpace(): AddressSpace {
    this.#space ??= getArch(this.arch).openAddressSpace({ ...this.#facts, vmcoreinfo: this.vmcoreinfo });
    return this.#space;
  }

  /** Virtual memory of the kernel. @throws as {@link addressSpace}. */
  get memory(): VirtualMemory {
    const space = this.addressSpace;
    this.#memory ??= new TranslatedMemory(this.physical, (vaddr) => space.translate(vaddr));
    return this.#memory;
  }

  /** phys_base, where something tells it. */
  get physBase(): number | undefined {
    return this.addressSpace.physBase;
  }

  /** Name, release and version of the kernel, from its own memory. @throws as {@link readUtsname}. */
  readUtsname(): Utsname {
    return readUtsname(this.memory, this.vmcoreinfo);
  }

  /** Where the log lies. @throws NoDataError `VMCOREINFO_ABSENT`; as {@link findPrintkLayout}. */
  get printkLayout(): PrintkLayout {
    if (this.#facts.vmcoreinfo === undefined)
      throw new NoDataError(
        'VMCOREINFO_ABSENT',
        'reading the kernel log: the dump has no VMCOREINFO note, which says where the log is',
        {},
        'a guest gives the note when it is started with `-device vmcoreinfo`',
      );
    this.#layout ??= findPrintkLayout(this.vmcoreinfo, () => openStructFacts(this.memory, this.vmcoreinfo));
    return this.#layout;
  }

  /** The log, oldest record first, one record in memory at a time. */
  walkLog(): Generator<LogRecord, LogEnd, undefined> {
    return walkLog(this.memory, this.printkLayout);
  }
}

/** Opens the kernel in a dump. */
export function openKernel(vmcore: Vmcore): Kernel {
  return new Kernel({
    arch: vmcore.arch,
    physical: new PagedMemory(vmcore),
    vmcoreinfo: vmcore.vmcoreinfo,
    headerPhysBase: vmcore.header.physBase,
    segments: vmcore.segments,
  });
}

/** What {@link machineFacts} needs of a machine that stage 1 dumps; every `Machine` of `capture/machine.ts` is one. */
export interface KernelMachine extends MachinePages {
  readonly arch: ArchName;
  /** The bytes of the PT_NOTE segment. */
  readonly notes: Uint8Array;
  readonly segments: readonly VirtualSegment[];
}

/** A machine as something that a kernel is opened from. */
export function machineFacts(machine: KernelMachine): KernelFacts {
  return {
    arch: machine.arch,
    physical: new PagedMemory(machinePages(machine)),
    vmcoreinfo: findNote(walkNotes(machine.notes), VMCOREINFO_OWNER)?.desc,
    segments: machine.segments,
  };
}
