/** The running kernel through /proc/kcore: an ELF core whose segments are virtual, read by physical address. */

import { Cursor } from '../base/cursor.ts';
import { FormatError, NoDataError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { type ByteSource, readExactly } from '../base/source.ts';
import { archOfElf } from '../format/arch.ts';
import { ELF_CLASS, ELF_IDENT, ELF64_HEADER, ELF64_PHDR, NO_ADDRESS, PT_LOAD, PT_NOTE } from '../format/elf/layout.ts';
import { findNote, VMCOREINFO_OWNER, walkNotes } from '../format/notes.ts';
import type { PhysicalMemory } from './memory.ts';
import type { KernelFacts } from './open.ts';
import { parseVmcoreinfo } from './vmcoreinfo.ts';

/** More segments than any machine has ranges of memory. */
const PHDRS_MAX = 65535;
const NOTES_MAX = 2 ** 20;
/** Offsets a JavaScript number holds. With 5 levels the segment of the kernel's text lies past it; its memory is in RAM's too. */
const OFFSET_END = 2 ** 53;
const PADDR_END = 2n ** 52n;

/** A stretch of physical memory in the file. */
interface RamSegment {
  readonly paddr: number;
  readonly size: number;
  readonly offset: number;
}

/**
 * What the running kernel is opened from.
 *
 * The segments of RAM carry their physical addresses since 4.12 (464920104bf7), the VMCOREINFO note is there since 4.19
 * (23c85094fe18). What the file holds changes while it is read.
 * Source: Linux `fs/proc/kcore.c`.
 *
 * @throws FormatError where `source` is no ELF64 core with segments of RAM and a VMCOREINFO note.
 */
export function openKcore(source: ByteSource): KernelFacts {
  const header = new Cursor(readExactly(source, 0, ELF64_HEADER.size, 'ELF header'));
  const count = header.u16(ELF64_HEADER.phnum);
  if (header.u32(0) !== 0x464c457f || header.u8(ELF_IDENT.class) !== ELF_CLASS.elf64 || count > PHDRS_MAX)
    throw new FormatError('KCORE_HEADER', `${source.name} is no ELF64 core`, { file: source.name });
  const phoff = header.u64(ELF64_HEADER.phoff);
  const table = new Cursor(readExactly(source, phoff, count * ELF64_PHDR.size, 'program headers'), phoff);
  const vmcoreinfo = readVmcoreinfo(source, table);
  if (vmcoreinfo === undefined)
    throw new FormatError(
      'KCORE_VMCOREINFO',
      `${source.name} has no VMCOREINFO note; kernels before 4.19 and those without CONFIG_VMCORE_INFO give none`,
      { file: source.name },
    );
  const arch = archOfElf(header.u16(ELF64_HEADER.machine));
  const pageSize = parseVmcoreinfo(vmcoreinfo).pageSize ?? 4096;
  return { arch, vmcoreinfo, physical: new KcoreMemory(source, readRamSegments(table), pageSize) };
}

function readVmcoreinfo(source: ByteSource, table: Cursor): Uint8Array | undefined {
  for (let at = 0; at + ELF64_PHDR.size <= table.length; at += ELF64_PHDR.size) {
    if (table.u32(at + ELF64_PHDR.type) !== PT_NOTE) continue;
    const length = Math.min(table.u64(at + ELF64_PHDR.filesz), NOTES_MAX);
    const bytes = readExactly(source, table.u64(at + ELF64_PHDR.offset), length, 'notes');
    const note = findNote(walkNotes(bytes), VMCOREINFO_OWNER);
    if (note) return note.desc;
  }
  return undefined;
}

/** Segments with a physical address, the largest first: RAM before the text that lies in it. */
function readRamSegments(table: Cursor): RamSegment[] {
  const segments: RamSegment[] = [];
  for (let at = 0; at + ELF64_PHDR.size <= table.length; at += ELF64_PHDR.size) {
    if (table.u32(at + ELF64_PHDR.type) !== PT_LOAD) continue;
    const paddr = table.big(at + ELF64_PHDR.paddr);
    const size = table.big(at + ELF64_PHDR.memsz);
    const offset = table.big(at + ELF64_PHDR.offset);
    if (paddr === NO_ADDRESS || paddr + size > PADDR_END || offset + size > BigInt(OFFSET_END)) continue;
    segments.push({ paddr: Number(paddr), size: Number(size), offset: Number(offset) });
  }
  return segments.sort((a, b) => b.size - a.size);
}

class KcoreMemory implements PhysicalMemory {
  readonly pageSize: number;
  readonly #source: ByteSource;
  readonly #segments: readonly RamSegment[];

  constructor(source: ByteSource, segments: readonly RamSegment[], pageSize: number) {
    this.#source = source;
    this.#segments = segments;
    this.pageSize = pageSize;
  }

  readPhysical(target: Uint8Array, paddr: number): void {
    for (let done = 0; done < target.length; ) {
      const at = paddr + done;
      const segment = this.#segments.find((ram) => at >= ram.paddr && at < ram.paddr + ram.size);
      if (!segment)
        throw new NoDataError('PAGE_ABSENT', `no segment of ${this.#source.name} holds paddr ${hex(at)}`, {
          paddr: at,
        });
      const inSegment = at - segment.paddr;
      const part = target.subarray(done, done + Math.min(target.length - done, segment.size - inSegment));
      const got = this.#source.readInto(part, segment.offset + inSegment);
      if (got === 0)
        throw new NoDataError('PAGE_HOLE', `${this.#source.name} gives nothing at paddr ${hex(at)}`, { paddr: at });
      done += got;
    }
  }
}
