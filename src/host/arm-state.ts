/** What was armed, noted so that `status` can say whether it still holds: `/run/diskdump/armed.json`, and a copy in /var/lib. */

import { createHash } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { KexecCall } from './kexec.ts';
import type { MemoryBudget } from './memory-budget.ts';

/** One of the devices as it was when armed. */
export interface ArmedDevice {
  readonly path: string;
  /** Of its label, with dashes. */
  readonly uuid: string;
  readonly sizeBytes: number;
}

/** Everything that an arming depended on. Digests are lower-case hex of SHA-256. */
export interface ArmedState {
  readonly schema: 'diskdump.armed/1';
  /** Milliseconds since 1970. */
  readonly armedMs: number;
  readonly machine: MachineFacts;
  readonly kernelImage: { readonly path: string; readonly sha256: string };
  readonly initramfs: { readonly path: string; readonly sha256: string; readonly bytes: number };
  readonly runtime: { readonly path: string; readonly sha256: string };
  /** Path is absent when all was default. */
  readonly config: { readonly path?: string; readonly sha256: string };
  readonly commandLine: string;
  readonly call: KexecCall;
  readonly devices: readonly ArmedDevice[];
  readonly budget: MemoryBudget;
  /** What the watchdog's driver is called; absent without one. */
  readonly watchdog?: string;
  /** Devices that can take the kernel log alone. */
  readonly logAreas: number;
}

/** What the loaded image is bound to: after a change of any it may be wrong. */
export interface MachineFacts {
  readonly bootId: string;
  /** `uname -r` and `uname -v`. */
  readonly release: string;
  readonly version: string;
  /** Of the System RAM ranges in /proc/iomem; '' where addresses are hidden (not root). */
  readonly memorySha256: string;
  /** As in `/sys/devices/system/cpu/present`: `0-3`. */
  readonly cpus: string;
  /** The kernel itself keeps a loaded image's memory and CPU tables current (since 6.5, `crash_hotplug`). */
  readonly followsHotplug: boolean;
}

/** Something that does not hold any more. */
export interface Staleness {
  readonly what: 'boot' | 'kernel' | 'memory' | 'cpus' | 'initramfs' | 'config';
  readonly text: string;
}

/** Where the state lies: the first is gone after a reboot, as the loaded kernel is; the second is for people. */
export const STATE_PATHS = { run: '/run/diskdump/armed.json', kept: '/var/lib/diskdump/armed.json' } as const;

/** Facts of the running machine. `root` is where /sys and /proc hang, for tests. */
export function readMachineFacts(root = ''): MachineFacts {
  const ranges = text(`${root}/proc/iomem`)
    .split('\n')
    .filter((line) => /^[0-9a-f]+-[0-9a-f]+ : System RAM$/.test(line));
  return {
    bootId: text(`${root}/proc/sys/kernel/random/boot_id`),
    release: text(`${root}/proc/sys/kernel/osrelease`),
    version: text(`${root}/proc/sys/kernel/version`),
    memorySha256: ranges.some((line) => !/^0+-0+ :/.test(line)) ? sha256(ranges.join('\n')) : '',
    cpus: text(`${root}/sys/devices/system/cpu/present`),
    followsHotplug:
      text(`${root}/sys/devices/system/memory/crash_hotplug`) === '1' &&
      text(`${root}/sys/devices/system/cpu/crash_hotplug`) === '1',
  };
}

/** Notes what was armed, in both places, flushed and renamed into place. */
export function writeArmedState(state: ArmedState, paths: readonly string[] = Object.values(STATE_PATHS)): void {
  for (const path of paths) writeWhole(path, `${JSON.stringify(state, null, 1)}\n`);
}

/** What was armed in this boot, or `undefined`: no file, or one that does not read. */
export function readArmedState(path: string = STATE_PATHS.run): ArmedState | undefined {
  try {
    const state = JSON.parse(readFileSync(path, 'utf8')) as ArmedState;
    return state.schema === 'diskdump.armed/1' && typeof state.machine?.bootId === 'string' ? state : undefined;
  } catch {
    return undefined;
  }
}

/** Forgets what was armed. */
export function removeArmedState(paths: readonly string[] = Object.values(STATE_PATHS)): void {
  for (const path of paths) rmSync(path, { force: true });
}

/** What changed since `state` was armed. Reads the kernel image and the initramfs again, some 60 MB. */
export function findStaleness(state: ArmedState, now: MachineFacts, configSha256?: string): Staleness[] {
  const stale: Staleness[] = [];
  const found = (what: Staleness['what'], text: string): number => stale.push({ what, text });
  const then = state.machine;
  if (then.bootId !== now.bootId) found('boot', 'the machine was started anew since it was armed');
  if (then.release !== now.release || then.version !== now.version) {
    found(
      'kernel',
      `the running kernel is ${now.release} (${now.version}), armed was ${then.release} (${then.version})`,
    );
  } else if (isReplaced(state.kernelImage)) {
    found('kernel', `${state.kernelImage.path} is another file than the one that was loaded`);
  }
  if (now.memorySha256 !== '' && then.memorySha256 !== now.memorySha256 && !now.followsHotplug) {
    found('memory', 'memory was added or removed: the capture kernel would see the old map');
  }
  if (then.cpus !== now.cpus && !now.followsHotplug) {
    found('cpus', `CPUs present are ${now.cpus}, when armed they were ${then.cpus}`);
  }
  if (isReplaced(state.initramfs)) {
    found('initramfs', `${state.initramfs.path} is another file than the one that was loaded`);
  }
  if (configSha256 !== undefined && state.config.sha256 !== configSha256) {
    found('config', 'the configuration was changed since');
  }
  return stale;
}

/** Whether a file is not what it was; false where it may not be looked at. */
function isReplaced({ path, sha256 }: { readonly path: string; readonly sha256: string }): boolean {
  try {
    accessSync(path, constants.R_OK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return false;
  }
  return fileSha256(path) !== sha256;
}

/** SHA-256 of a file, `''` for one that cannot be read. */
export function fileSha256(path: string): string {
  try {
    return sha256(readFileSync(path));
  } catch {
    return '';
  }
}

/** SHA-256 as lower-case hex. */
export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function writeWhole(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const partial = join(dirname(path), `.${process.pid}.partial`);
  try {
    const fd = openSync(partial, 'w', 0o644);
    try {
      writeSync(fd, content);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
