/**
 * The capture kernel's initramfs: two cpio archives one after the other. The first holds the runtime image and is the same
 * for every kernel; the second is small: busybox, the modules of the way to each device, scripts and configuration.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RefusedError } from '../base/errors.ts';
import { type CpioEntry, parentDirectories, writeCpio } from './cpio.ts';
import { type KernelModule, type ModuleTree, moduleName, readModule } from './kernel-modules.ts';
import { INTERPRETERS, type RuntimeImage } from './runtime-image.ts';

/** Modules that one process of the capture kernel loads in order. */
export interface ModuleList {
  /** `base` is loaded first; the others at the same time. */
  readonly name: string;
  readonly modules: readonly KernelModule[];
  /** By module name: words for its command line. */
  readonly parameters?: ReadonlyMap<string, string>;
}

/** Everything that goes into an initramfs. */
export interface InitramfsContents {
  readonly runtime: RuntimeImage;
  readonly tree: ModuleTree;
  readonly lists: readonly ModuleList[];
  /** A static busybox. */
  readonly busybox: string;
  /** Shell assignments for PID 1. */
  readonly settings: InitSettings;
  /** Configuration and the log area's parts: path below the root, and bytes. */
  readonly files: readonly { readonly path: string; readonly bytes: Uint8Array }[];
}

/** What PID 1 and the fallback script go by. */
export interface InitSettings {
  readonly heartbeatSeconds: number;
  readonly fallbackSeconds: number;
  readonly finalAction: 'reboot' | 'poweroff' | 'halt';
}

/** A finished initramfs. */
export interface Initramfs {
  readonly path: string;
  readonly bytes: number;
  /** SHA-256 of the whole file, lower-case hex: the digest of this arming. */
  readonly sha256: string;
  /** Bytes of the runtime image, which stays in memory as a file. */
  readonly runtimeBytes: number;
  /** Bytes of the modules, which become kernel memory. */
  readonly moduleBytes: number;
}

/** Applets that the scripts call by name. */
const APPLETS = [
  ...['cat', 'cmp', 'dd', 'halt', 'head', 'insmod', 'mkdir', 'mkfifo', 'mount', 'mv', 'od'],
  ...['poweroff', 'printf', 'reboot', 'rm', 'setsid', 'sh', 'sha256sum', 'sleep', 'tr', 'umount', 'uname', 'wc'],
] as const;

/** Writes the initramfs to `path`, renamed into place. It is not flushed: each arming builds it anew. */
export function writeInitramfs(contents: InitramfsContents, path: string): Initramfs {
  const runtime: CpioEntry = { kind: 'file', path: 'runtime.img', bytes: readFileSync(contents.runtime.path) };
  const small = smallEntries(contents);
  const hash = createHash('sha256');
  let bytes = 0;
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}`;
  try {
    const fd = openSync(partial, 'w', 0o600);
    try {
      for (const run of [...writeCpio([runtime]), ...writeCpio(small)]) {
        hash.update(run);
        for (let done = 0; done < run.length; ) done += writeSync(fd, run, done);
        bytes += run.length;
      }
    } finally {
      closeSync(fd);
    }
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
  let moduleBytes = 0;
  for (const entry of small)
    if (entry.kind === 'file' && entry.path.startsWith('modules/')) moduleBytes += entry.bytes.length;
  return { path, bytes, sha256: hash.digest('hex'), runtimeBytes: contents.runtime.bytes, moduleBytes };
}

/** A static busybox with the applets that the scripts need. @throws RefusedError `BUSYBOX_MISSING` */
export function findBusybox(candidates = ['/bin/busybox', '/usr/bin/busybox', '/sbin/busybox']): string {
  for (const path of candidates) {
    if (!existsSync(path) || !isStatic(readFileSync(path))) continue;
    const applets = execFileSync(path, ['--list'], { encoding: 'utf8' }).split('\n');
    if (APPLETS.every((applet) => applets.includes(applet))) return path;
  }
  throw new RefusedError(
    'BUSYBOX_MISSING',
    `packing the capture kernel's tools: no static busybox with ${APPLETS.length} needed applets, looked at ${candidates.join(', ')}`,
    {},
    'apt install busybox-static',
  );
}

/** One of the scripts that run in the capture kernel. */
export function readCaptureScript(name: 'init' | 'fallback'): Uint8Array {
  return readFileSync(join(captureRoot(), name));
}

/** Beside this file in a checkout; beside the bundle, or in its checkout, when built. */
function captureRoot(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = [join(here, 'capture-root'), join(here, '../capture-root'), join(here, '../../src/host/capture-root')];
  const found = places.find((place) => existsSync(join(place, 'init')));
  if (found) return found;
  throw new RefusedError(
    'CAPTURE_ROOT_MISSING',
    `packing the capture kernel's scripts: none of ${places.join(', ')} is there`,
  );
}

function smallEntries(contents: InitramfsContents): CpioEntry[] {
  const entries: CpioEntry[] = [
    { kind: 'file', path: 'bin/busybox', bytes: readFileSync(contents.busybox), mode: 0o755 },
    ...APPLETS.map((applet): CpioEntry => ({ kind: 'link', path: `bin/${applet}`, target: 'busybox' })),
    { kind: 'device', path: 'dev/console', type: 'character', major: 5, minor: 1 },
    { kind: 'file', path: 'init', bytes: readCaptureScript('init'), mode: 0o755 },
    { kind: 'file', path: 'fallback', bytes: readCaptureScript('fallback'), mode: 0o755 },
    { kind: 'file', path: 'etc/diskdump/init.conf', bytes: text(settingsText(contents.settings)) },
    ...contents.files.map((file): CpioEntry => ({ kind: 'file', mode: 0o600, ...file })),
    ...moduleEntries(contents),
    interpreterLink(),
  ];
  return [...parentDirectories(entries.map((entry) => entry.path)), ...entries];
}

/** Each module once, however many lists name it; the lists by file name. */
function moduleEntries({ tree, lists }: InitramfsContents): CpioEntry[] {
  const modules = new Map<string, KernelModule>();
  for (const list of lists) for (const module of list.modules) modules.set(module.name, module);
  return [
    ...[...modules.values()].map((module): CpioEntry => {
      return { kind: 'file', path: `modules/${fileName(module)}`, bytes: readModule(tree, module) };
    }),
    ...lists.map((list): CpioEntry => {
      const lines = list.modules.map((module) =>
        [fileName(module), list.parameters?.get(module.name)].filter((word) => word).join(' '),
      );
      return { kind: 'file', path: `etc/diskdump/modules/${list.name}`, bytes: text(`${lines.join('\n')}\n`) };
    }),
  ];
}

function fileName(module: KernelModule): string {
  return `${moduleName(module.path)}.ko`;
}

/** Node names its loader by an absolute path; the libraries are found by LD_LIBRARY_PATH. */
function interpreterLink(): CpioEntry {
  const path = INTERPRETERS[process.arch];
  if (path === undefined) {
    throw new RefusedError('ARCH_UNKNOWN', `building the initramfs: no dynamic loader known for ${process.arch}`);
  }
  return { kind: 'link', path: path.slice(1), target: `/runtime/lib/${path.slice(path.lastIndexOf('/') + 1)}` };
}

function settingsText(settings: InitSettings): string {
  return [
    `HEARTBEAT_SECONDS=${settings.heartbeatSeconds}`,
    `FALLBACK_SECONDS=${settings.fallbackSeconds}`,
    `FINAL_ACTION=${settings.finalAction}`,
    '',
  ].join('\n');
}

/** An ELF program without PT_INTERP. */
function isStatic(elf: Buffer): boolean {
  const PT_INTERP = 3;
  const PHDR_SIZE = 56;
  if (elf.length < 64 || elf.readUInt32BE(0) !== 0x7f454c46) return false;
  const offset = Number(elf.readBigUInt64LE(32));
  const count = elf.readUInt16LE(56);
  for (let n = 0; n < count && offset + (n + 1) * PHDR_SIZE <= elf.length; n++) {
    if (elf.readUInt32LE(offset + n * PHDR_SIZE) === PT_INTERP) return false;
  }
  return true;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
