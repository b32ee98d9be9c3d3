/** ELF core files, byte by byte, as far as crash dumps use them. Source: linux `include/uapi/linux/elf.h`. */

/** First four bytes. */
export const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;

/** e_ident, the same in both classes. */
export const ELF_IDENT = { class: 4, data: 5, version: 6, size: 16 } as const;
export const ELF_CLASS = { elf32: 1, elf64: 2 } as const;
export const ELF_DATA = { littleEndian: 1, bigEndian: 2 } as const;

export const ET_CORE = 4;
export const PT_LOAD = 1;
export const PT_NOTE = 4;
/** e_phnum when the count does not fit 16 bits: the real one is in section header 0. */
export const PN_XNUM = 0xffff;
/** p_paddr, p_vaddr or p_offset: there is none. */
export const NO_ADDRESS = 0xffffffffffffffffn;

/** `Elf64_Ehdr`. e_ehsize is not read: QEMU 7.2 writes 8. */
export const ELF64_HEADER = {
  size: 64,
  type: 16, //      u16
  machine: 18, //   u16
  phoff: 32, //     u64
  shoff: 40, //     u64
  flags: 48, //     u32
  phentsize: 54, // u16
  phnum: 56, //     u16
} as const;

/** `Elf64_Phdr`. */
export const ELF64_PHDR = {
  size: 56,
  type: 0, //    u32
  offset: 8, //  u64
  vaddr: 16, //  u64
  paddr: 24, //  u64
  filesz: 32, // u64
  memsz: 40, //  u64
} as const;

/** `Elf64_Shdr`, only what extended numbering needs. */
export const ELF64_SHDR = { size: 64, info: 44 } as const;

/** e_flags: `makedumpfile -E` could not write all pages. Source: makedumpfile 1.7.9 `elf_info.h`, `DUMP_ELF_INCOMPLETE`. */
export const DUMP_ELF_INCOMPLETE = 1;
