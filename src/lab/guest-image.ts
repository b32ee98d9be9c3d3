/** What a guest boots from: its initramfs, the squashfs disks with tools and kernel, the ext4 disk for data. */

import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { UnsupportedError } from '../base/errors.ts';
import { type CpioEntry, parentDirectories, writeCpio } from '../host/cpio.ts';
import { type Kernel, writeWhole } from './kernels.ts';
import { findCheckout, keepNewest, labCache } from './paths.ts';
import { findProgram, findStaticBusybox, run } from './programs.ts';
import { createSparseFile } from './qemu.ts';

/** What the guest's first process needs before its disks are mounted. Built-in ones are skipped. */
const EARLY_MODULES = ['virtio_pci', 'virtio_blk', 'squashfs', 'loop', 'crc32c_generic', 'ext4'];
/** Programs that a machine which arms itself has installed, where they lie there; packed with their libraries. */
const GUEST_PROGRAMS = { kexec: 'usr/sbin', kmod: 'usr/bin', xz: 'usr/bin', zstd: 'usr/bin' } as const;
/** busybox' own names in the guest's /bin. */
const APPLETS =
  'sh mount umount cat ls ln cp mv rm mkdir echo sleep insmod sed grep sync poweroff reboot hostname uname dd sha256sum od cmp kill sort head tail touch ps free losetup';
/** Changes when the layout of the tools disk does. */
const RECIPE = 'tools/3';
/** Which of kmod's names the guest has. */
const KMOD_NAMES = ['modprobe', 'modinfo', 'depmod', 'lsmod'];

/** The initramfs of a kernel's guests, cached by what is in it. */
export function buildGuestInitramfs(kernel: Kernel, crashModule: string | undefined): string {
  const busybox = findStaticBusybox();
  if (busybox === undefined) {
    throw new UnsupportedError(
      'LAB_PACKAGES_MISSING',
      'building the guest: no static busybox',
      {},
      'apt-get install busybox-static',
    );
  }
  const init = readFileSync(join(findCheckout(), 'src/lab/guest-root/init'));
  const files: CpioEntry[] = [
    { kind: 'file', path: 'init', bytes: init, mode: 0o755 },
    { kind: 'file', path: 'bin/busybox', bytes: readFileSync(busybox), mode: 0o755 },
    ...APPLETS.split(' ').map((name): CpioEntry => ({ kind: 'link', path: `bin/${name}`, target: 'busybox' })),
    ...readEarlyModules(kernel),
  ];
  if (crashModule !== undefined) files.push({ kind: 'file', path: 'lab_crash.ko', bytes: readFileSync(crashModule) });
  const console: CpioEntry = { kind: 'device', path: 'dev/console', type: 'character', major: 5, minor: 1 };
  const entries = [...parentDirectories(['dev/console', ...files.map((file) => file.path)]), console, ...files];
  const archive = Buffer.concat(writeCpio(entries));
  const path = labCache('initramfs', `${kernel.release}-${digest(archive)}.cpio`);
  if (!existsSync(path)) writeWhole(path, archive);
  return path;
}

/** A squashfs of `/boot` and `/lib/modules` of a kernel: made once for each. */
export function buildKernelDisk(kernel: Kernel): string {
  const path = labCache('kernel-disks', `${kernel.release}.squashfs`);
  if (existsSync(path)) return path;
  return withWork(path, (work) => {
    mkdirSync(join(work, 'boot'));
    mkdirSync(join(work, 'lib/modules'), { recursive: true });
    copyFileSync(kernel.vmlinuz, join(work, 'boot', `vmlinuz-${kernel.release}`));
    if (kernel.config) copyFileSync(kernel.config, join(work, 'boot', `config-${kernel.release}`));
    cpSync(kernel.modules, join(work, 'lib/modules', kernel.release), { recursive: true, verbatimSymlinks: true });
    for (const link of ['build', 'source']) rmSync(join(work, 'lib/modules', kernel.release, link), { force: true });
    packSquashfs(work, path, ['-comp', 'zstd', '-Xcompression-level', '3']);
  });
}

/** What the tools disk is made of. */
export interface ToolsPlan {
  /** Folder of the bundled command line, with `main.mjs`. */
  readonly cli: string;
  /** Ready runtime image, which the guest mounts for itself and hands to `diskdump arm --runtime-image`. */
  readonly runtimeImage: string;
}

/**
 * A squashfs with kexec, kmod, their libraries, the bundled command line, the runtime image, and what is in that image
 * once more for the guest's own use. Not compressed: under software emulation a guest reads faster than it unpacks.
 */
export function buildToolsDisk(plan: ToolsPlan): string {
  // Both paths carry the key of what they were built from.
  const key = digest(RECIPE, plan.cli, plan.runtimeImage);
  const path = labCache('tools-disks', `${key}.squashfs`);
  if (!existsSync(path)) packToolsDisk(plan, path);
  keepNewest(path);
  return path;
}

function packToolsDisk(plan: ToolsPlan, path: string): void {
  withWork(path, (work) => {
    for (const folder of ['usr/bin', 'usr/sbin', 'lib']) mkdirSync(join(work, folder), { recursive: true });
    const programs: string[] = [process.execPath];
    for (const [name, folder] of Object.entries(GUEST_PROGRAMS)) {
      const program = findProgram(name);
      if (program === undefined) continue;
      programs.push(program);
      copyFileSync(realpathSync(program), join(work, folder, name));
    }
    for (const name of KMOD_NAMES) symlinkSync('../bin/kmod', join(work, 'usr/sbin', name));
    copyLibraries(programs, work);
    cpSync(plan.cli, join(work, 'cli'), { recursive: true });
    copyFileSync(plan.runtimeImage, join(work, 'runtime.img'));
    run('unsquashfs', ['-quiet', '-no-progress', '-dest', join(work, 'runtime'), plan.runtimeImage]);
    const launcher = '#!/bin/sh\nexec /runtime/bin/node /tools/cli/main.mjs "$@"\n';
    writeFileSync(join(work, 'usr/bin/diskdump'), launcher);
    chmodSync(join(work, 'usr/bin/diskdump'), 0o755);
    packSquashfs(work, path, ['-noI', '-noD', '-noF', '-noX']);
  });
}

/** A new ext4 image with these files in it, paths relative, parents made. */
export function createDataDisk(path: string, size: number, files: Readonly<Record<string, string>>): string {
  const seed = `${path}.seed`;
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(seed, name)), { recursive: true });
    writeFileSync(join(seed, name), text);
  }
  createSparseFile(path, size);
  run('mke2fs', ['-q', '-F', '-t', 'ext4', '-O', '^metadata_csum', '-d', seed, path]);
  rmSync(seed, { recursive: true });
  return path;
}

/** Copies a folder of an ext4 image, which nobody has mounted, out to the host. */
export function extractDataDisk(image: string, folder: string, into: string): void {
  mkdirSync(into, { recursive: true });
  run('debugfs', ['-R', `rdump ${folder} ${into}`, image]);
}

function readEarlyModules(kernel: Kernel): CpioEntry[] {
  const root = kernel.modules.replace(/\/(usr\/)?lib\/modules\/[^/]+$/, '');
  const paths = new Set<string>();
  for (const name of EARLY_MODULES) {
    const shown = run('modprobe', ['-d', root, '-S', kernel.release, '--show-depends', '-i', '--quiet', name]);
    for (const line of shown.split('\n')) {
      const path = /^insmod (\S+)/.exec(line)?.[1];
      if (path !== undefined) paths.add(path);
    }
  }
  return [...paths].map((path, index) => ({
    kind: 'file',
    path: `early/${String(index).padStart(2, '0')}-${basename(path).replace(/\.(xz|zst)$/, '')}`,
    bytes: readModule(path),
  }));
}

function readModule(path: string): Uint8Array {
  if (!/\.(xz|zst)$/.test(path)) return readFileSync(path);
  const plain = labCache('tmp', `${process.pid}.ko`);
  run('sh', ['-c', `${path.endsWith('.xz') ? 'xz' : 'zstd'} -dc "$1" > "$2"`, 'sh', path, plain]);
  const bytes = readFileSync(plain);
  rmSync(plain);
  return bytes;
}

/** Every library that `ldd` names, at the path where the programs look for it. */
function copyLibraries(programs: readonly string[], root: string): void {
  for (const program of programs) {
    for (const match of run('ldd', [program]).matchAll(/(\/\S+) \(0x/g)) {
      const library = match[1] as string;
      const target = join(root, library);
      if (existsSync(target)) continue;
      mkdirSync(dirname(target), { recursive: true });
      copyFileSync(realpathSync(library), target);
    }
  }
}

function packSquashfs(folder: string, path: string, compression: readonly string[]): void {
  const temporary = `${path}.${process.pid}.tmp`;
  rmSync(temporary, { force: true });
  const options = ['-noappend', '-quiet', '-no-progress', '-no-xattrs', '-all-root'];
  run('mksquashfs', [folder, temporary, ...options, ...compression]);
  run('mv', [temporary, path]);
}

function withWork(path: string, build: (work: string) => void): string {
  const work = `${path}.${process.pid}.work`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    build(work);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return path;
}

function digest(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex').slice(0, 16);
}
