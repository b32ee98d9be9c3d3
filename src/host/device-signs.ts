/**
 * How the contents of a device show themselves: magic numbers at known places, one row each. The file is long because it is a
 * table.
 *
 * Source: the file systems' and tools' own headers; offsets compared with util-linux 2.38 `libblkid/src/superblocks/*.c`.
 */

import { latin1 } from '../base/cursor.ts';
import { parseUuid } from '../base/hex.ts';

/** The first and the last bytes of a device, with their offsets. */
export interface DeviceEnds {
  readonly size: number;
  /** Bytes at `offset`, or `undefined` where they lie outside of what was read. */
  bytes(offset: number, length: number): Uint8Array | undefined;
}

/** What a sign stands for. */
export type SignKind = 'filesystem' | 'table' | 'member' | 'swap' | 'dump';

/** One row. */
export interface Sign {
  /** Short name, as `blkid` has it where it knows it. */
  readonly type: string;
  readonly kind: SignKind;
  readonly magic: Uint8Array;
  /** Where the magic lies; from the end where negative. A function where the place depends on the size. */
  readonly at: readonly number[] | ((size: number) => readonly number[]);
  /** A better name from the bytes around the magic, `undefined` to say that it is none after all. */
  readonly name: (ends: DeviceEnds, at: number) => string | undefined;
}

const text = (value: string): Uint8Array => Uint8Array.from(value, (char) => char.charCodeAt(0));
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** Rows are asked in this order, all of them: a device can be several things at once. */
export const SIGNS: readonly Sign[] = [
  // File systems.
  { type: 'ext', kind: 'filesystem', magic: bytes(0x53, 0xef), at: [1080], name: nameExt },
  { type: 'xfs', kind: 'filesystem', magic: text('XFSB'), at: [0], name: labelled('xfs file system', 108, 12) },
  {
    type: 'btrfs',
    kind: 'filesystem',
    magic: text('_BHRfS_M'),
    at: [0x10040],
    name: labelled('btrfs file system', 0x12b - 0x40, 256),
  },
  { type: 'vfat', kind: 'filesystem', magic: text('FAT32   '), at: [82], name: bootSector('FAT32 file system') },
  { type: 'vfat', kind: 'filesystem', magic: text('FAT16   '), at: [54], name: bootSector('FAT16 file system') },
  { type: 'vfat', kind: 'filesystem', magic: text('FAT12   '), at: [54], name: bootSector('FAT12 file system') },
  { type: 'vfat', kind: 'filesystem', magic: text('MSDOS'), at: [54], name: bootSector('FAT file system') },
  { type: 'ntfs', kind: 'filesystem', magic: text('NTFS    '), at: [3], name: plain('NTFS file system') },
  { type: 'exfat', kind: 'filesystem', magic: text('EXFAT   '), at: [3], name: plain('exFAT file system') },
  {
    type: 'f2fs',
    kind: 'filesystem',
    magic: bytes(0x10, 0x20, 0xf5, 0xf2),
    at: [1024, 5120],
    name: plain('f2fs file system'),
  },
  { type: 'squashfs', kind: 'filesystem', magic: text('hsqs'), at: [0], name: plain('squashfs file system') },
  {
    type: 'erofs',
    kind: 'filesystem',
    magic: bytes(0xe2, 0xe1, 0xf5, 0xe0),
    at: [1024],
    name: plain('erofs file system'),
  },
  {
    type: 'cramfs',
    kind: 'filesystem',
    magic: bytes(0x45, 0x3d, 0xcd, 0x28),
    at: [0],
    name: plain('cramfs file system'),
  },
  { type: 'romfs', kind: 'filesystem', magic: text('-rom1fs-'), at: [0], name: plain('romfs file system') },
  {
    type: 'iso9660',
    kind: 'filesystem',
    magic: text('CD001'),
    at: [32769],
    name: labelled('ISO 9660 file system', 39, 32),
  },
  { type: 'udf', kind: 'filesystem', magic: text('NSR0'), at: [34817, 36865, 38913], name: plain('UDF file system') },
  {
    type: 'reiserfs',
    kind: 'filesystem',
    magic: text('ReIsEr'),
    at: [0x10034, 0x2034],
    name: plain('ReiserFS file system'),
  },
  { type: 'jfs', kind: 'filesystem', magic: text('JFS1'), at: [32768], name: plain('JFS file system') },
  { type: 'nilfs2', kind: 'filesystem', magic: bytes(0x34, 0x34), at: [1030], name: nameNilfs },
  {
    type: 'gfs2',
    kind: 'filesystem',
    magic: bytes(0x01, 0x16, 0x19, 0x70),
    at: [65536],
    name: plain('GFS2 file system'),
  },
  {
    type: 'ocfs2',
    kind: 'filesystem',
    magic: text('OCFSV2'),
    at: [1024, 2048, 4096, 8192],
    name: plain('OCFS2 file system'),
  },
  { type: 'hfsplus', kind: 'filesystem', magic: text('H+\0\x04'), at: [1024], name: plain('HFS+ file system') },
  { type: 'hfsplus', kind: 'filesystem', magic: text('HX\0\x05'), at: [1024], name: plain('HFSX file system') },
  { type: 'apfs', kind: 'filesystem', magic: text('NXSB'), at: [32], name: plain('APFS container') },
  {
    type: 'bcachefs',
    kind: 'filesystem',
    magic: uuid('c68573f6-66ce-90a9-d96a-60cf803df7ef'),
    at: [4120],
    name: plain('bcachefs file system'),
  },
  {
    type: 'zfs_member',
    kind: 'filesystem',
    magic: bytes(0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0),
    at: zfsUberblocks,
    name: plain('member of a ZFS pool'),
  },
  {
    type: 'zfs_member',
    kind: 'filesystem',
    magic: bytes(0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c),
    at: zfsUberblocks,
    name: plain('member of a ZFS pool'),
  },

  // Partition tables. The backup of a GPT is the last block, whatever the size of a block.
  { type: 'gpt', kind: 'table', magic: text('EFI PART'), at: [512, 4096], name: plain('GPT partition table') },
  {
    type: 'gpt',
    kind: 'table',
    magic: text('EFI PART'),
    at: [-512, -4096],
    name: plain('backup of a GPT partition table'),
  },
  { type: 'dos', kind: 'table', magic: bytes(0x55, 0xaa), at: [510], name: nameMbr },

  // What a device can be a part of.
  { type: 'linux_raid_member', kind: 'member', magic: bytes(0xfc, 0x4e, 0x2b, 0xa9), at: [0], name: nameMd('1.1') },
  { type: 'linux_raid_member', kind: 'member', magic: bytes(0xfc, 0x4e, 0x2b, 0xa9), at: [4096], name: nameMd('1.2') },
  {
    type: 'linux_raid_member',
    kind: 'member',
    magic: bytes(0xfc, 0x4e, 0x2b, 0xa9),
    at: (size) => [Math.floor((size - 8192) / 4096) * 4096],
    name: nameMd('1.0'),
  },
  {
    type: 'linux_raid_member',
    kind: 'member',
    magic: bytes(0xfc, 0x4e, 0x2b, 0xa9),
    at: md090,
    name: plain('member of an md array (metadata 0.90)'),
  },
  {
    type: 'linux_raid_member',
    kind: 'member',
    magic: bytes(0xa9, 0x2b, 0x4e, 0xfc),
    at: md090,
    name: plain('member of an md array (metadata 0.90)'),
  },
  {
    type: 'ddf_raid_member',
    kind: 'member',
    magic: bytes(0xde, 0x11, 0xde, 0x11),
    at: [-512],
    name: plain('member of a firmware RAID (DDF)'),
  },
  {
    type: 'isw_raid_member',
    kind: 'member',
    magic: text('Intel Raid ISM Cfg Sig. '),
    at: [-1024, -8192],
    name: plain('member of a firmware RAID (Intel)'),
  },
  { type: 'LVM2_member', kind: 'member', magic: text('LABELONE'), at: [0, 512, 1024, 1536], name: nameLvm },
  { type: 'crypto_LUKS', kind: 'member', magic: text('LUKS\xba\xbe'), at: [0], name: nameLuks },
  {
    type: 'crypto_LUKS',
    kind: 'member',
    magic: text('SKUL\xba\xbe'),
    at: [0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000],
    name: plain('second header of a LUKS2 volume'),
  },
  {
    type: 'bcache',
    kind: 'member',
    magic: uuid('c68573f6-4e1a-45ca-8265-f57f48ba6d81'),
    at: [4120],
    name: plain('bcache device'),
  },
  {
    type: 'drbd',
    kind: 'member',
    magic: bytes(0x83, 0x74, 0x02),
    at: (size) => [Math.floor(size / 4096) * 4096 - 4096 + 60],
    name: plain('DRBD volume'),
  },
  {
    type: 'ceph_bluestore',
    kind: 'member',
    magic: text('bluestore block device'),
    at: [0],
    name: plain('Ceph BlueStore device'),
  },
  {
    type: 'VMFS_volume_member',
    kind: 'member',
    magic: bytes(0x0d, 0xd0, 0x01, 0xc0),
    at: [0x100000],
    name: plain('member of a VMFS volume'),
  },

  // Swap, and a system that sleeps in it. The magic ends the first page, whatever the size of a page.
  { type: 'swap', kind: 'swap', magic: text('SWAPSPACE2'), at: swapPages, name: plain('swap space') },
  { type: 'swap', kind: 'swap', magic: text('SWAP-SPACE'), at: swapPages, name: plain('swap space') },
  {
    type: 'swsuspend',
    kind: 'swap',
    magic: text('S1SUSPEND'),
    at: swapPages,
    name: plain('image of a suspended system'),
  },
  {
    type: 'swsuspend',
    kind: 'swap',
    magic: text('S2SUSPEND'),
    at: swapPages,
    name: plain('image of a suspended system'),
  },
  {
    type: 'swsuspend',
    kind: 'swap',
    magic: text('ULSUSPEND'),
    at: swapPages,
    name: plain('image of a suspended system'),
  },
  {
    type: 'swsuspend',
    kind: 'swap',
    magic: text('LINHIB0001'),
    at: swapPages,
    name: plain('image of a suspended system'),
  },

  // Dumps that lie on the device itself.
  { type: 'kdump', kind: 'dump', magic: text('KDUMP   '), at: [0], name: plain('KDUMP dump') },
  { type: 'diskdump', kind: 'dump', magic: text('DISKDUMP'), at: [0], name: plain('DISKDUMP dump') },
  {
    type: 'flattened',
    kind: 'dump',
    magic: text('makedumpfile\0'),
    at: [0],
    name: plain('flattened makedumpfile dump'),
  },
  {
    type: 'lkcd',
    kind: 'dump',
    magic: bytes(0xed, 0x23, 0x8f, 0x61, 0x73, 0x01, 0x19, 0xa8),
    at: [0, 65536],
    name: plain('LKCD dump'),
  },
  { type: 'elf', kind: 'dump', magic: text('\x7fELF'), at: [0], name: plain('ELF file') },
  {
    type: 'diskdump-device',
    kind: 'dump',
    magic: text('diskdump\0\0\0\0'),
    at: [0],
    name: plain('dump-device signatures without a label: a format that was cut, or the original diskdump'),
  },
];

function plain(name: string): Sign['name'] {
  return () => name;
}

/** A name with the volume's label behind it, `from` bytes after the magic. */
function labelled(name: string, from: number, length: number): Sign['name'] {
  return (ends, at) => quoted(name, ends.bytes(at + from, length));
}

function quoted(name: string, label: Uint8Array | undefined): string {
  const found =
    label === undefined
      ? ''
      : latin1(label)
          .replace(/[^\x20-\x7e]/g, '?')
          .trim();
  return found === '' ? name : `${name} '${found}'`;
}

/** FAT's type is only a text in the boot sector, which must then be one. */
function bootSector(name: string): Sign['name'] {
  return (ends) => (isBootSector(ends) ? name : undefined);
}

function isBootSector(ends: DeviceEnds): boolean {
  const mark = ends.bytes(510, 2);
  return mark !== undefined && mark[0] === 0x55 && mark[1] === 0xaa;
}

/** Source: Linux `fs/ext4/ext4.h`, `struct ext4_super_block`. */
function nameExt(ends: DeviceEnds, at: number): string | undefined {
  const block = ends.bytes(at - 56, 1024);
  if (block === undefined) return undefined;
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  const [compatible, incompatible] = [view.getUint32(92, true), view.getUint32(96, true)];
  // s_log_block_size: up to 64 KiB.
  if (view.getUint32(24, true) > 6) return undefined;
  if (incompatible & 0x8) return 'external journal of an ext file system';
  const extents = incompatible & (0x40 | 0x80 | 0x200);
  const type = extents ? 'ext4' : compatible & 0x4 ? 'ext3' : 'ext2';
  return quoted(`${type} file system`, block.subarray(120, 136));
}

/** Two bytes are little: the revision before them must fit. Source: Linux `include/uapi/linux/nilfs2_ondisk.h`. */
function nameNilfs(ends: DeviceEnds, at: number): string | undefined {
  const head = ends.bytes(at - 6, 4);
  return head?.[0] === 2 && head[1] === 0 && head[2] === 0 ? 'NILFS2 file system' : undefined;
}

/** A boot sector of a file system ends like an MBR: only a table with an entry that can be one counts. */
function nameMbr(ends: DeviceEnds, at: number): string | undefined {
  const entries = ends.bytes(at - 64, 64);
  const oem = ends.bytes(3, 8);
  if (entries === undefined || (oem && /^(NTFS|EXFAT)/.test(latin1(oem)))) return undefined;
  let used = 0;
  for (let entry = 0; entry < 64; entry += 16) {
    const [status, type] = [entries[entry] as number, entries[entry + 4] as number];
    if (status !== 0 && status !== 0x80) return undefined;
    if (type === 0xee) return 'protective MBR of a GPT partition table';
    if (type !== 0) used++;
  }
  return used > 0 ? `MBR partition table with ${used} partition${used === 1 ? '' : 's'}` : undefined;
}

/** Source: Linux `include/uapi/linux/raid/md_p.h`, `struct mdp_superblock_1`. */
function nameMd(version: string): Sign['name'] {
  return (ends, at) => {
    const block = ends.bytes(at, 64);
    if (block === undefined || block[4] !== 1) return undefined;
    return quoted(`member of an md array (metadata ${version})`, block.subarray(32, 64));
  };
}

function nameLvm(ends: DeviceEnds, at: number): string | undefined {
  const type = ends.bytes(at + 24, 8);
  return type && latin1(type) === 'LVM2 001' ? 'LVM2 physical volume' : undefined;
}

function nameLuks(ends: DeviceEnds, at: number): string {
  const version = ends.bytes(at + 6, 2);
  return `LUKS${version?.[1] ?? ''} encrypted volume`;
}

/** 64 KiB from the end, rounded down to 64 KiB. Source: Linux `include/uapi/linux/raid/md_p.h`, `MD_NEW_SIZE_SECTORS`. */
function md090(size: number): readonly number[] {
  return [Math.floor(size / 65536) * 65536 - 65536];
}

/** Ends of the first page on machines with pages of 4, 8, 16 and 64 KiB. */
function swapPages(): readonly number[] {
  return [4096, 8192, 16384, 65536].map((page) => page - 10);
}

/** Uberblocks: the last 128 KiB of each of four labels of 256 KiB, two at either end. Source: OpenZFS `include/sys/vdev_impl.h`. */
function zfsUberblocks(size: number): readonly number[] {
  const label = 262144;
  const end = Math.floor(size / label) * label;
  const places: number[] = [];
  for (const start of [0, label, end - 2 * label, end - label])
    for (let at = 131072; at < label; at += 1024) places.push(start + at);
  return places;
}

function uuid(digits: string): Uint8Array {
  return parseUuid(digits) as Uint8Array;
}
