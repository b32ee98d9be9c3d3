/** Which architecture a dump is of, from the names and numbers that dump headers carry. */

import { type Note, prstatusNotes } from './notes.ts';
import type { ArchName } from './vmcore.ts';

/** utsname's `machine` by architecture. Source: linux `arch/…/Makefile`, `UTS_MACHINE`, and `uname -m` of 32-bit kernels. */
const BY_MACHINE: readonly (readonly [RegExp, ArchName])[] = [
  [/^(x86_64|amd64)$/, 'x86_64'],
  [/^i[3-6]86$/, 'i386'],
  [/^(aarch64|arm64)/, 'aarch64'],
  [/^arm/, 'arm'],
  [/^ppc64/, 'ppc64'],
  [/^s390x$/, 's390x'],
  [/^riscv64$/, 'riscv64'],
  [/^loongarch64$/, 'loongarch64'],
];

/** Bytes of an NT_PRSTATUS descriptor. x86-64 and s390x share 336; s390x is big-endian. */
const BY_PRSTATUS_SIZE: Readonly<Record<number, ArchName>> = {
  336: 'x86_64',
  392: 'aarch64',
  504: 'ppc64',
  376: 'riscv64',
  480: 'loongarch64',
  144: 'i386',
  148: 'arm',
};

/** e_machine by architecture. Source: linux `include/uapi/linux/elf-em.h`. */
const BY_ELF_MACHINE: Readonly<Record<number, ArchName>> = {
  3: 'i386',
  21: 'ppc64',
  22: 's390x',
  40: 'arm',
  62: 'x86_64',
  183: 'aarch64',
  243: 'riscv64',
  258: 'loongarch64',
};

/** From utsname's `machine`; `unknown` where it says nothing. */
export function archOfMachine(machine: string): ArchName {
  return BY_MACHINE.find(([pattern]) => pattern.test(machine))?.[1] ?? 'unknown';
}

/** From the size of the register notes, for headers whose writer knew no kernel. */
export function archOfNotes(notes: readonly Note[], littleEndian: boolean): ArchName {
  const size = prstatusNotes(notes)[0]?.desc.length;
  if (size === undefined) return 'unknown';
  return size === 336 && !littleEndian ? 's390x' : (BY_PRSTATUS_SIZE[size] ?? 'unknown');
}

/** From an ELF header's e_machine. */
export function archOfElf(machine: number): ArchName {
  return BY_ELF_MACHINE[machine] ?? 'unknown';
}
