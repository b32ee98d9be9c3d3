/** Formats that diskdump knows by name and does not read: what to say when one is opened, and what to do. */

/** A format by its first bytes. */
export interface KnownFormat {
  /** As people call it. */
  readonly name: string;
  /** What helps. */
  readonly hint: string;
  /** Alternatives of the bytes at `offset`. */
  readonly magics: readonly (readonly number[])[];
  readonly offset?: number;
}

const CRASH_HINT = 'crash opens it';
const LKCD_BYTES = [0x23, 0x8f, 0x61, 0x73, 0x01, 0x19, 0xa8];

/** Sources: crash 9.0.2 (`diskdump.c`, `lkcd_common.c`, `sadump.c`, `vmware_vmss.c`, `xendump.h`, `s390_dump.c`), makedumpfile 1.7.9. */
export const KNOWN_FORMATS: readonly KnownFormat[] = [
  {
    name: 'flattened stream of makedumpfile or QEMU',
    hint: 'rearrange it first: `makedumpfile -R OUT < FILE`',
    magics: [[...ascii('makedumpfile'), 0, 0, 0, 0]],
  },
  {
    name: 'diskdump file (DISKDUMP)',
    hint: CRASH_HINT,
    magics: [ascii('DISKDUMP')],
  },
  {
    name: 'formatted partition of the original diskdump',
    hint: 'its dump, if it has one, begins one page further',
    magics: [ascii('diskdump')],
  },
  {
    name: 'LKCD dump',
    hint: CRASH_HINT,
    magics: [0xed, 0xcd].flatMap((first) => bothOrders([first, ...LKCD_BYTES])),
  },
  {
    name: 's390 stand-alone dump',
    hint: 'crash opens it; `zgetdump -f elf` rewrites it',
    magics: bothOrders([0xfd, ...LKCD_BYTES]),
  },
  {
    name: 'Mission Critical dump (mcore)',
    hint: CRASH_HINT,
    magics: bothOrders([0xdd, 0xcc, 0x8b, 0x9a]),
  },
  {
    name: 'sadump of Fujitsu firmware',
    hint: 'crash opens it; `makedumpfile` rewrites it as KDUMP',
    magics: [[...ascii('sadump'), 0, 0]],
  },
  {
    name: 'virsh save image',
    hint: 'dump the guest with `virsh dump --memory-only` instead',
    magics: [ascii('LibvirtQemudSave'), ascii('LibvirtQemudPart')],
  },
  {
    name: 'QEMU migration stream',
    hint: 'dump the guest with `dump-guest-memory` or `virsh dump --memory-only` instead',
    magics: [ascii('QEVM')],
  },
  { name: 'Xen save image', hint: CRASH_HINT, magics: [ascii('LinuxGuestRecord')] },
  {
    name: 'Xen core (xc_core)',
    hint: CRASH_HINT,
    magics: [0xed, 0xee].flatMap((first) => bothOrders([first, 0xeb, 0x0f, 0xf0])),
  },
  {
    name: 'VMware suspended or snapshot state',
    hint: 'crash opens it, with the .vmem beside it',
    magics: [0xbed2bed2, 0xbed3bed3, 0xbed1bed1, 0xbed0bed0, 0xbad1bad1, 0xbad2bad2].map(littleEndian),
  },
  {
    name: 'Windows crash dump',
    hint: 'it is not of a Linux kernel; WinDbg opens it',
    magics: [ascii('PAGEDU64'), ascii('PAGEDUMP')],
  },
  { name: 'zstd-compressed file', hint: 'unpack it first: `zstd -d FILE`', magics: [[0x28, 0xb5, 0x2f, 0xfd]] },
  { name: 'gzip-compressed file', hint: 'unpack it first: `gunzip FILE`', magics: [[0x1f, 0x8b, 0x08]] },
  { name: 'xz-compressed file', hint: 'unpack it first: `unxz FILE`', magics: [[0xfd, ...ascii('7zXZ'), 0]] },
  ...[4096, 8192, 16384, 65536].map((pageSize) => ({
    name: 'swap area',
    hint: 'a dump in it, if there is one, is the original diskdump’s or LKCD’s',
    magics: [ascii('SWAPSPACE2'), ascii('SWAP-SPACE')],
    offset: pageSize - 10,
  })),
];

/** The format whose bytes these are; `head` is the beginning of the file, 64 KiB where it has them. */
export function findKnownFormat(head: Uint8Array): KnownFormat | undefined {
  return KNOWN_FORMATS.find(({ magics, offset = 0 }) => magics.some((magic) => startsWith(head, magic, offset)));
}

/** True when `magic` stands at `offset`. */
export function startsWith(bytes: Uint8Array, magic: readonly number[], offset = 0): boolean {
  return offset + magic.length <= bytes.length && magic.every((byte, i) => bytes[offset + i] === byte);
}

/** The character codes of a text. */
export function ascii(text: string): number[] {
  return Array.from(text, (char) => char.charCodeAt(0));
}

function bothOrders(magic: readonly number[]): number[][] {
  return [[...magic], [...magic].reverse()];
}

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
