/** ELF notes: the records in a PT_NOTE segment, which KDUMP copies whole. */

import { Cursor, latin1 } from '../base/cursor.ts';
import type { ArchName } from './vmcore.ts';

/** One record; `owner` without its trailing NUL. */
export interface Note {
  readonly owner: string;
  readonly type: number;
  /** The descriptor, shared with the segment's bytes. */
  readonly desc: Uint8Array;
  /** Offset of the descriptor from the start of the notes' bytes. */
  readonly descOffset: number;
}

export const NT_PRSTATUS = 1;
export const VMCOREINFO_OWNER = 'VMCOREINFO';

/** Head of a record, the same in both ELF classes. Source: linux `include/uapi/linux/elf.h`, `Elf64_Nhdr`. */
const NHDR = { size: 12, nameSize: 0, descSize: 4, type: 8 } as const;

/**
 * The records of a PT_NOTE segment, in order.
 *
 * Names and descriptors are padded to 4 in both classes. A record of three zero words ends one CPU's buffer and is
 * skipped. The walk stops at the first record that does not fit: what was found before it still counts, for the
 * registers of one CPU may be damaged and the VMCOREINFO of the machine whole.
 */
export function walkNotes(bytes: Uint8Array, littleEndian = true): Note[] {
  const block = new Cursor(bytes, 0, littleEndian);
  const notes: Note[] = [];
  for (let at = 0; at + NHDR.size <= bytes.length; ) {
    const nameSize = block.u32(at + NHDR.nameSize);
    const descSize = block.u32(at + NHDR.descSize);
    const type = block.u32(at + NHDR.type);
    const descOffset = at + NHDR.size + padded(nameSize);
    if (descOffset + descSize > bytes.length) break;
    if (nameSize || descSize || type) {
      const owner = latin1(block.slice(at + NHDR.size, nameSize));
      notes.push({ owner, type, desc: block.slice(descOffset, descSize), descOffset });
    }
    at = descOffset + padded(descSize);
  }
  return notes;
}

/** The first note of that owner and, where given, type. */
export function findNote(notes: readonly Note[], owner: string, type?: number): Note | undefined {
  return notes.find((note) => note.owner === owner && (type === undefined || note.type === type));
}

/** The register notes, one for each CPU that answered, in the file's order. */
export function prstatusNotes(notes: readonly Note[]): Note[] {
  return notes.filter((note) => note.owner === 'CORE' && note.type === NT_PRSTATUS);
}

/** One CPU's registers. */
export interface Prstatus {
  /** Task that ran there (kernel), or CPU index + 1 (QEMU). */
  readonly pid: number;
  /** General registers by the architecture's own names, unsigned. */
  readonly registers: Readonly<Record<string, bigint>>;
}

/**
 * Descriptor of NT_PRSTATUS on a 64-bit machine.
 * Source: linux `include/linux/elfcore.h`, `struct elf_prstatus_common`.
 */
const PRSTATUS_64 = { pid: 32, registers: 112 } as const;

/** Names in the order of `elf_gregset_t`, 8 bytes each. Source: linux `arch/…/include/uapi/asm/ptrace.h`. */
const GENERAL_REGISTERS: Partial<Record<ArchName, readonly string[]>> = {
  x86_64: (
    'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss ' +
    'fs_base gs_base ds es fs gs'
  ).split(' '),
  aarch64: [...Array.from({ length: 31 }, (_, i) => `x${i}`), 'sp', 'pc', 'pstate'],
  riscv64: (
    'pc ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 ' + 't3 t4 t5 t6'
  ).split(' '),
};

/** The registers of one NT_PRSTATUS descriptor; `undefined` where it is too short or the architecture has no table. */
export function parsePrstatus(desc: Uint8Array, arch: ArchName, littleEndian = true): Prstatus | undefined {
  const names = GENERAL_REGISTERS[arch];
  if (!names || desc.length < PRSTATUS_64.registers + 8 * names.length) return undefined;
  const block = new Cursor(desc, 0, littleEndian);
  const registers: Record<string, bigint> = {};
  names.forEach((name, i) => {
    registers[name] = block.big(PRSTATUS_64.registers + 8 * i);
  });
  return { pid: block.u32(PRSTATUS_64.pid), registers };
}

function padded(size: number): number {
  return Math.ceil(size / 4) * 4;
}
