/**
 * Records what file systems and tools leave on a device as `fixtures/device-signs.json`: their own programs write to a sparse file,
 * and every block of 4 KiB where a sign may lie is kept unless it is zero. Run by hand where the tools are installed:
 *
 *     node test/driver/record-signs.ts
 */

import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, openSync, readSync, writeFileSync } from 'node:fs';
import { deflateRawSync } from 'node:zlib';
import { SIGNS } from '../../src/host/device-signs.ts';
import { attachLoop, detachLoop, scratchFolder, sparseFile } from './scratch.ts';

/** One device: its size and its blocks of 4 KiB, deflated, in base64, by offset. */
export interface RecordedDevice {
  /** Program and version that wrote it. */
  readonly tool: string;
  /** What the probe must find, in words. */
  readonly expected: readonly string[];
  readonly size: number;
  readonly blocks: Readonly<Record<string, string>>;
}

interface Recipe {
  readonly command: string;
  readonly version: string;
  readonly expected: readonly string[];
  readonly mib?: number;
  /** The tool wants a block device. */
  readonly loop?: boolean;
}

const RECIPES: readonly Recipe[] = [
  { command: 'mkfs.ext2 -q -L boot $D', version: 'mke2fs -V 2>&1', expected: ["ext2 file system 'boot'"] },
  { command: 'mkfs.ext3 -q $D', version: 'mke2fs -V 2>&1', expected: ['ext3 file system'] },
  { command: 'mkfs.ext4 -q -L root $D', version: 'mke2fs -V 2>&1', expected: ["ext4 file system 'root'"] },
  {
    command: 'mke2fs -q -O journal_dev $D',
    version: 'mke2fs -V 2>&1',
    expected: ['external journal of an ext file system'],
  },
  { command: 'mkfs.xfs -q -L data $D', version: 'mkfs.xfs -V', expected: ["xfs file system 'data'"], mib: 512 },
  { command: 'mkfs.btrfs -q -L pool $D', version: 'mkfs.btrfs -V', expected: ["btrfs file system 'pool'"], mib: 256 },
  {
    command: 'mkfs.vfat -F 12 $D',
    version: 'mkfs.vfat --help 2>&1 | head -1',
    expected: ['FAT12 file system'],
    mib: 4,
  },
  {
    command: 'mkfs.vfat -F 16 $D',
    version: 'mkfs.vfat --help 2>&1 | head -1',
    expected: ['FAT16 file system'],
    mib: 64,
  },
  {
    command: 'mkfs.vfat -F 32 $D',
    version: 'mkfs.vfat --help 2>&1 | head -1',
    expected: ['FAT32 file system'],
    mib: 256,
  },
  { command: 'mkntfs -q -F -f $D', version: 'mkntfs -V 2>&1', expected: ['NTFS file system'] },
  { command: 'mkfs.exfat $D', version: 'mkfs.exfat -V', expected: ['exFAT file system'] },
  { command: 'mkfs.f2fs -q $D', version: 'mkfs.f2fs -V', expected: ['f2fs file system'], mib: 128 },
  {
    command: 'mksquashfs $E $D -noappend -quiet',
    version: 'mksquashfs -version | head -1',
    expected: ['squashfs file system'],
  },
  { command: 'mkfs.erofs -zlz4 $D $E', version: 'mkfs.erofs -V 2>&1 | head -1', expected: ['erofs file system'] },
  {
    command: 'genisoimage -quiet -V DISC -o $D $E',
    version: 'genisoimage -version',
    expected: ["ISO 9660 file system 'DISC'"],
  },
  { command: 'mkudffs -b 512 $D', version: 'mkudffs --help 2>&1 | head -1', expected: ['UDF file system'] },
  { command: 'mkudffs -b 2048 $D', version: 'mkudffs --help 2>&1 | head -1', expected: ['UDF file system'] },
  {
    command: 'yes | mkfs.reiserfs -f -f -q $D',
    version: 'mkfs.reiserfs -V 2>&1 | head -1',
    expected: ['ReiserFS file system'],
    mib: 128,
  },
  { command: 'jfs_mkfs -q $D', version: 'jfs_mkfs -V 2>&1 | head -1', expected: ['JFS file system'] },
  { command: 'mkfs.nilfs2 -q $D', version: 'mkfs.nilfs2 -V 2>&1', expected: ['NILFS2 file system'], mib: 256 },
  {
    command: 'sgdisk -n 1:2048:+8M $D',
    version: 'sgdisk --version',
    expected: ['GPT partition table', 'backup of a GPT partition table', 'protective MBR of a GPT partition table'],
  },
  {
    command: 'echo ",8M\n,16M" | sfdisk -q $D',
    version: 'sfdisk --version',
    expected: ['MBR partition table with 2 partitions'],
  },
  {
    command: 'pvcreate -q $D',
    version: 'pvcreate --version | head -1',
    expected: ['LVM2 physical volume'],
    loop: true,
  },
  {
    command: 'echo secret | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 $D',
    version: 'cryptsetup --version',
    expected: ['LUKS1 encrypted volume'],
  },
  {
    command: 'echo secret | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $D',
    version: 'cryptsetup --version',
    expected: ['LUKS2 encrypted volume', 'second header of a LUKS2 volume'],
  },
  { command: 'mkswap -q $D', version: 'mkswap --version', expected: ['swap space'] },
  {
    command: 'make-bcache -B $D',
    version: 'dpkg-query -W bcache-tools',
    expected: ['bcache device'],
    loop: true,
  },
];

const BLOCK = 4096;

const recorded: RecordedDevice[] = [];
for (const { command, version, expected, mib = 32, loop } of RECIPES) {
  const file = sparseFile(mib * 2 ** 20);
  const device = loop ? attachLoop(file) : file;
  if (device === undefined) throw new Error('no loop device');
  execFileSync('sh', ['-c', command], {
    env: { ...process.env, D: device, E: scratchFolder() },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  if (loop) detachLoop(device);
  const tool = execFileSync('sh', ['-c', `${version}; true`], { encoding: 'utf8' })
    .trim()
    .split('\n')[0] as string;
  recorded.push({ tool, expected, ...readEnds(file) });
  process.stdout.write(`${command}: ${Object.keys(recorded.at(-1)?.blocks ?? {}).length} blocks\n`);
}
writeFileSync(new URL('fixtures/device-signs.json', import.meta.url), `${JSON.stringify(recorded, null, 1)}\n`);

function readEnds(file: string): Pick<RecordedDevice, 'size' | 'blocks'> {
  const fd = openSync(file, 'r');
  const { size } = fstatSync(fd);
  const blocks: Record<string, string> = {};
  const block = new Uint8Array(BLOCK);
  const places = SIGNS.filter(({ type }) => type !== 'zfs_member').flatMap(({ at }) =>
    typeof at === 'function' ? at(size) : at,
  );
  const wanted = new Set(places.map((place) => Math.floor((place < 0 ? size + place : place) / BLOCK) * BLOCK));
  for (const offset of [...wanted].sort((a, b) => a - b)) {
    if (offset < 0 || offset >= size) continue;
    block.fill(0);
    readSync(fd, block, 0, BLOCK, offset);
    if (block.some((byte) => byte !== 0)) blocks[offset] = deflateRawSync(block).toString('base64');
  }
  closeSync(fd);
  return { size, blocks };
}
