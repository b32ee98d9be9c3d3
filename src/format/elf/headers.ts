/** The headers of an ELF64 core: program headers as columns, notes as bytes. Read once at opening. */

import { Cursor } from '../../base/cursor.ts';
import { FormatError, UnsupportedError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactly } from '../../base/source.ts';
import { archOfElf } from '../arch.ts';
import type { ArchName } from '../vmcore.ts';
import {
  DUMP_ELF_INCOMPLETE,
  ELF_CLASS,
  ELF_DATA,
  ELF_IDENT,
  ELF64_HEADER,
  ELF64_PHDR,
  ELF64_SHDR,
  ET_CORE,
  NO_ADDRESS,
  PN_XNUM,
  PT_LOAD,
  PT_NOTE,
} from './layout.ts';

/** One PT_LOAD that has a physical address. */
export interface ElfLoad {
  /** File offset of its first byte; meaningless where `fileSize` is 0. */
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: number;
  /** Bytes in the file, 0 where a filter left them out. */
  readonly fileSize: number;
  /** Bytes in memory, at least `fileSize`. */
  readonly memorySize: number;
}

/** What the headers of a core say. */
export interface ElfCore {
  readonly arch: ArchName;
  readonly littleEndian: boolean;
  /** `makedumpfile -E` says that pages are missing. */
  readonly incomplete: boolean;
  /** In the file's order. */
  readonly loads: readonly ElfLoad[];
  /** The bytes of all PT_NOTE segments, one after the other. */
  readonly notes: Uint8Array;
}

/** A machine of 64 TiB in pieces of 256 MiB; a table of 14 MiB. */
const PHDRS_MAX = 2 ** 18;
/** Notes of 8,192 CPUs are 3 MB. Device dumps (NT_VMCOREDD) behind them may be larger and are left. */
const NOTES_MAX = 16 * 2 ** 20;
/** Physical addresses have at most 52 bits. */
const PADDR_END = 2 ** 52;

/**
 * Reads the headers of an ELF64 core.
 *
 * @throws UnsupportedError for ELF32; FormatError for ELF files that are no core, or whose tables lie outside the file.
 */
export function readElfCore(source: ByteSource): ElfCore {
  const ident = readExactly(source, 0, ELF_IDENT.size, 'ELF identification');
  const littleEndian = checkIdent(ident, source.name);
  const header = new Cursor(readExactly(source, 0, ELF64_HEADER.size, 'ELF header'), 0, littleEndian);
  checkCore(header, source.name);
  const table = readTable(source, header);
  const arch = archOfElf(header.u16(ELF64_HEADER.machine));
  const loads = readLoads(table);
  if (loads.length === 0) {
    throw new FormatError(
      'ELF_EMPTY',
      `ELF header of ${source.name}: none of ${table.length / ELF64_PHDR.size} program headers holds memory`,
      {},
      'a core of Xen (xc_core) keeps its pages in sections; crash opens it',
    );
  }
  return {
    arch,
    littleEndian,
    incomplete: marksIncomplete(arch) && (header.u32(ELF64_HEADER.flags) & DUMP_ELF_INCOMPLETE) !== 0,
    loads,
    notes: readNotes(source, table),
  };
}

function checkIdent(ident: Uint8Array, name: string): boolean {
  const [elfClass, data] = [ident[ELF_IDENT.class], ident[ELF_IDENT.data]];
  if (elfClass === ELF_CLASS.elf32) {
    throw new UnsupportedError('ELF32', `${name}: 32-bit ELF cores are not read yet`, { class: 1 }, 'crash opens it');
  }
  if (elfClass !== ELF_CLASS.elf64 || (data !== ELF_DATA.littleEndian && data !== ELF_DATA.bigEndian)) {
    throw new FormatError(
      'ELF_IDENT',
      `ELF header of ${name}: class ${elfClass} and data ${data}, expected 2 and 1 or 2`,
      {
        class: elfClass,
        data,
      },
    );
  }
  return data === ELF_DATA.littleEndian;
}

function checkCore(header: Cursor, name: string): void {
  const type = header.u16(ELF64_HEADER.type);
  if (type === ET_CORE) return;
  throw new FormatError(
    'ELF_TYPE',
    `ELF header of ${name}: type ${type}, expected ${ET_CORE} (core)`,
    { type },
    'this is a program, a library or an object, not a dump',
  );
}

/** The program headers, wherever e_phoff says: QEMU puts section headers before them. */
function readTable(source: ByteSource, header: Cursor): Cursor {
  const phoff = header.u64(ELF64_HEADER.phoff);
  const entrySize = header.u16(ELF64_HEADER.phentsize);
  const count = countHeaders(source, header);
  if (entrySize !== ELF64_PHDR.size || count > PHDRS_MAX || phoff + count * entrySize > source.size) {
    throw new FormatError(
      'ELF_PHDRS',
      `ELF header of ${source.name}: ${count} program headers of ${entrySize} bytes at offset ${hex(phoff)}, at most ${PHDRS_MAX} of ` +
        `${ELF64_PHDR.size} bytes within ${source.size} are possible`,
      { count, entrySize, phoff, size: source.size },
    );
  }
  return new Cursor(readExactly(source, phoff, count * entrySize, 'program headers'), phoff, header.littleEndian);
}

function countHeaders(source: ByteSource, header: Cursor): number {
  const count = header.u16(ELF64_HEADER.phnum);
  if (count !== PN_XNUM) return count;
  const shoff = header.u64(ELF64_HEADER.shoff);
  if (shoff === 0) {
    throw new FormatError('ELF_XNUM', `ELF header of ${source.name}: extended numbering without a section header`, {});
  }
  const section = new Cursor(
    readExactly(source, shoff, ELF64_SHDR.size, 'section header 0'),
    shoff,
    header.littleEndian,
  );
  return section.u32(ELF64_SHDR.info);
}

function readLoads(table: Cursor): ElfLoad[] {
  const loads: ElfLoad[] = [];
  for (let at = 0; at < table.length; at += ELF64_PHDR.size) {
    if (table.u32(at + ELF64_PHDR.type) !== PT_LOAD) continue;
    if (table.big(at + ELF64_PHDR.paddr) === NO_ADDRESS) continue;
    loads.push(readLoad(table, at));
  }
  return loads;
}

function readLoad(table: Cursor, at: number): ElfLoad {
  const stored = table.big(at + ELF64_PHDR.offset) !== NO_ADDRESS;
  const offset = stored ? table.u64(at + ELF64_PHDR.offset) : 0;
  const fileSize = stored ? table.u64(at + ELF64_PHDR.filesz) : 0;
  const paddr = table.u64(at + ELF64_PHDR.paddr);
  const memorySize = Math.max(fileSize, table.u64(at + ELF64_PHDR.memsz));
  if (paddr + memorySize > PADDR_END || offset + fileSize > Number.MAX_SAFE_INTEGER) {
    throw new FormatError(
      'ELF_SEGMENT',
      `program header at offset ${hex(table.fileOffset + at)}: ${memorySize} bytes of memory at ${hex(paddr)}, ${fileSize} of the file at ` +
        `${hex(offset)}; addresses end at ${hex(PADDR_END)}`,
      { paddr, memorySize, offset, fileSize },
    );
  }
  return { offset, vaddr: table.big(at + ELF64_PHDR.vaddr), paddr, fileSize, memorySize };
}

function readNotes(source: ByteSource, table: Cursor): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  for (let at = 0; at < table.length; at += ELF64_PHDR.size) {
    if (table.u32(at + ELF64_PHDR.type) !== PT_NOTE) continue;
    const offset = table.u64(at + ELF64_PHDR.offset);
    const length = Math.min(table.u64(at + ELF64_PHDR.filesz), NOTES_MAX - total, Math.max(0, source.size - offset));
    parts.push(readExactly(source, offset, length, 'notes'));
    total += length;
  }
  if (parts.length === 1) return parts[0] as Uint8Array;
  const notes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    notes.set(part, at);
    at += part.length;
  }
  return notes;
}

/** Other architectures use bit 0 of e_flags for themselves. */
function marksIncomplete(arch: ArchName): boolean {
  return arch === 'x86_64' || arch === 'aarch64' || arch === 's390x';
}
