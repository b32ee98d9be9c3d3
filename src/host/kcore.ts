/** The running kernel's memory through /proc/kcore: virtual addresses, and where they lie in physical memory. */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import type { Paddr, Vaddr } from '../base/address.ts';
import { Cursor } from '../base/cursor.ts';
import { FormatError, NoDataError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';

/** One stretch of the kernel's addresses. */
interface Segment {
  readonly vaddr: bigint;
  /** Absent for memory that is not contiguous: vmalloc, modules. */
  readonly paddr: number | undefined;
  readonly size: bigint;
  /** With five levels of page tables it passes 2^53. */
  readonly offset: bigint;
}

/**
 * Source: Linux 6.12 `fs/proc/kcore.c`: an ELF64 core; p_paddr is set for RAM and for the kernel's text and data (since
 * 4.14, 464920104bf7), all ones elsewhere.
 */
const ELF = { magic: 0x464c457f, phoff: 32, phnum: 56, headerSize: 64, phdrSize: 56 } as const;
const PHDR = { type: 0, offset: 8, vaddr: 16, paddr: 24, fileSize: 32 } as const;
const PT_LOAD = 1;
const ALL_ONES = 0xffffffffffffffffn;
/** A machine has some hundred. */
const SEGMENTS_MAX = 65535;
const NOTE_HEADER = 12;
const VMCOREINFO_MAX = 65536;

/** The running kernel's memory. As `VirtualMemory` of the kernel part. */
export class LiveKernelMemory {
  readonly #fd: number;
  readonly #segments: readonly Segment[];
  readonly #vmcoreinfoPath: string;

  private constructor(fd: number, segments: readonly Segment[], vmcoreinfoPath: string) {
    this.#fd = fd;
    this.#segments = segments;
    this.#vmcoreinfoPath = vmcoreinfoPath;
  }

  /**
   * Opens /proc/kcore. Needs root, and no lockdown to confidentiality.
   *
   * @throws NoDataError `KCORE_OPEN`; FormatError when it is no core.
   */
  static open(path = '/proc/kcore', vmcoreinfoPath = '/sys/kernel/vmcoreinfo'): LiveKernelMemory {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new NoDataError('KCORE_OPEN', `opening ${path}: ${code}`, { path }, undefined, error);
    }
    try {
      return new LiveKernelMemory(fd, readSegments(fd, path), vmcoreinfoPath);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Fills `target` from `vaddr` on. @throws NoDataError `NOT_MAPPED` */
  readVirtual(target: Uint8Array, vaddr: Vaddr): void {
    const segment = this.#find(vaddr, target.length);
    readExactly(this.#fd, target, segment.offset + vaddr - segment.vaddr);
  }

  /** Where `vaddr` lies, and how far memory is contiguous from there. @throws NoDataError `NOT_MAPPED` */
  translate(vaddr: Vaddr): { readonly paddr: Paddr; readonly length: number } {
    const segment = this.#find(vaddr, 1);
    if (segment.paddr === undefined)
      throw new NoDataError('NOT_MAPPED', `${hex(vaddr)} is not in contiguous memory of the kernel`, { vaddr });
    const inside = vaddr - segment.vaddr;
    return { paddr: segment.paddr + Number(inside), length: Number(segment.size - inside) };
  }

  /** Text of the kernel's vmcoreinfo. Source: `kernel/ksysfs.c`: the address and size of an ELF note. */
  readVmcoreinfo(): Uint8Array {
    const [address, size] = readFileSync(this.#vmcoreinfoPath, 'utf8')
      .trim()
      .split(' ')
      .map((word) => Number.parseInt(word, 16));
    if (!address || !size || size > VMCOREINFO_MAX)
      throw new NoDataError('VMCOREINFO_ABSENT', `${this.#vmcoreinfoPath} names no vmcoreinfo`);
    const note = new Uint8Array(size);
    this.#readPhysical(note, address);
    const cursor = new Cursor(note);
    const start = NOTE_HEADER + Math.ceil(cursor.u32(0) / 4) * 4;
    const end = start + cursor.u32(4);
    if (end > size) throw new FormatError('NOTE_LENGTH', `note of vmcoreinfo: ${end} bytes, the kernel said ${size}`);
    return note.subarray(start, end);
  }

  #readPhysical(target: Uint8Array, address: number): void {
    for (const { paddr, size, offset } of this.#segments) {
      if (paddr === undefined || address < paddr || address + target.length > paddr + Number(size)) continue;
      readExactly(this.#fd, target, offset + BigInt(address - paddr));
      return;
    }
    throw new NoDataError('PAGE_ABSENT', `there is no memory at ${hex(address)}`, { paddr: address });
  }

  #find(vaddr: bigint, length: number): Segment {
    const end = vaddr + BigInt(length);
    const found = this.#segments.find((segment) => vaddr >= segment.vaddr && end <= segment.vaddr + segment.size);
    if (found) return found;
    throw new NoDataError('NOT_MAPPED', `${length} bytes at ${hex(vaddr)} are not memory of the kernel`, { vaddr });
  }
}

function readSegments(fd: number, path: string): Segment[] {
  const header = new Uint8Array(ELF.headerSize);
  readExactly(fd, header, 0n);
  const head = new Cursor(header);
  const count = head.u16(ELF.phnum);
  if (head.u32(0) !== ELF.magic || count === 0 || count >= SEGMENTS_MAX)
    throw new FormatError('KCORE_HEADER', `${path} is no ELF core with program headers`, { path });
  const table = new Uint8Array(count * ELF.phdrSize);
  readExactly(fd, table, head.big(ELF.phoff));
  const segments: Segment[] = [];
  for (let at = 0; at < table.length; at += ELF.phdrSize) {
    const phdr = new Cursor(table.subarray(at, at + ELF.phdrSize));
    if (phdr.u32(PHDR.type) !== PT_LOAD) continue;
    const paddr = phdr.big(PHDR.paddr);
    segments.push({
      vaddr: phdr.big(PHDR.vaddr),
      paddr: paddr === ALL_ONES ? undefined : Number(paddr),
      size: phdr.big(PHDR.fileSize),
      offset: phdr.big(PHDR.offset),
    });
  }
  return segments;
}

function readExactly(fd: number, target: Uint8Array, offset: bigint): void {
  for (let done = 0; done < target.length; ) {
    const position = offset + BigInt(done);
    const got = readSync(fd, target, done, target.length - done, position);
    if (got === 0) throw new NoDataError('PAGE_ABSENT', `kernel memory ends at offset ${hex(position)}`, { offset });
    done += got;
  }
}
