/** Loading and unloading the capture kernel: the kernel's kexec as its tool and /sys show it. */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RefusedError, UsageError } from '../base/errors.ts';

/** What the running kernel says about its capture kernel. */
export interface KexecState {
  /** Whether it can have one at all: built with CONFIG_KEXEC or CONFIG_KEXEC_FILE, and CONFIG_CRASH_DUMP. */
  readonly supported: boolean;
  readonly loaded: boolean;
  /** Memory reserved by `crashkernel=`, low and high part together, in bytes; 0 = none. */
  readonly reservedBytes: number;
  /** `kernel.kexec_load_disabled`: nothing can be loaded until the next boot. */
  readonly disabled: boolean;
  /** Lockdown of the running kernel, as far as there is one. */
  readonly lockdown: 'none' | 'integrity' | 'confidentiality';
}

/** Which of the two system calls took the image. */
export type KexecCall = 'kexec_file_load' | 'kexec_load';

/** What to load. */
export interface CrashKernelPlan {
  readonly kernel: string;
  readonly initramfs: string;
  readonly commandLine: string;
}

/**
 * Longest command line that an x86 kernel takes, less what kexec itself adds (`elfcorehdr=0x… ` and, for the old call,
 * `memmap=` words). Source: Linux 6.12 `arch/x86/include/asm/setup.h`, COMMAND_LINE_SIZE 2048.
 */
const COMMAND_LINE_MAX = 2048 - 128;

/**
 * Words that every capture kernel gets. A root of tmpfs would take half of the memory that is free before the initramfs is
 * unpacked, and the image is about that large.
 */
const CAPTURE_WORDS = ['nr_cpus=1', 'reset_devices', 'irqpoll', 'panic=5', 'rootfstype=ramfs'] as const;

/** Reads the state. `root` is where /sys and /proc hang, for tests. */
export function readKexecState(root = ''): KexecState {
  return {
    supported: existsSync(`${root}/sys/kernel/kexec_crash_loaded`),
    loaded: readText(`${root}/sys/kernel/kexec_crash_loaded`) === '1',
    reservedBytes: reservedBytes(root),
    disabled:
      readText(`${root}/proc/sys/kernel/kexec_load_disabled`) === '1' ||
      readText(`${root}/proc/sys/kernel/kexec_load_limit_panic`) === '0',
    lockdown: parseLockdown(readText(`${root}/sys/kernel/security/lockdown`) ?? ''),
  };
}

/** The bootable image of the running kernel. @throws RefusedError `KERNEL_IMAGE_MISSING` */
export function findKernelImage(release: string, root = ''): string {
  const places = ['vmlinuz', 'vmlinux', 'Image'].flatMap((name) => [
    `${root}/boot/${name}-${release}`,
    `${root}/lib/modules/${release}/${name}`,
    `${root}/usr/lib/modules/${release}/${name}`,
  ]);
  const found = places.find((place) => existsSync(place));
  if (found) return found;
  throw new RefusedError(
    'KERNEL_IMAGE_MISSING',
    `loading the capture kernel: the image of the running kernel ${release} is none of ${places.slice(0, 3).join(', ')}`,
    { release },
    `apt install --reinstall linux-image-${release}, or name it with --kernel`,
  );
}

/**
 * The capture kernel's command line: the first kernel's consoles, the fixed words, the digests that PID 1 goes by, then
 * what the configuration adds (later words win).
 *
 * @throws UsageError `COMMAND_LINE_LENGTH` when the kernel would cut it.
 */
export function captureCommandLine(parts: {
  readonly firstKernel: string;
  readonly runtimeSha256: string;
  readonly armedSha256: string;
  readonly append: string;
}): string {
  const consoles = parts.firstKernel.split(/\s+/).filter((word) => word.startsWith('console='));
  const line = [
    ...consoles,
    ...CAPTURE_WORDS,
    `diskdump.runtime=${parts.runtimeSha256}`,
    `diskdump.armed=${parts.armedSha256}`,
    ...parts.append.split(/\s+/).filter((word) => word !== ''),
  ].join(' ');
  if (line.length <= COMMAND_LINE_MAX) return line;
  throw new UsageError(
    'COMMAND_LINE_LENGTH',
    `command line of the capture kernel: ${line.length} characters, ${COMMAND_LINE_MAX} are taken`,
    { length: line.length },
    'shorten capture_kernel.append',
  );
}

/**
 * Loads the capture kernel: by `kexec_file_load`, which works under Secure Boot with a signed kernel, else by the old
 * call.
 *
 * @throws RefusedError `TOOL_MISSING` without kexec-tools; `KEXEC_FAILED` with what both calls said.
 */
export function loadCrashKernel(plan: CrashKernelPlan, tool = findKexec()): KexecCall {
  const image = ['-p', plan.kernel, `--initrd=${plan.initramfs}`, `--command-line=${plan.commandLine}`];
  const byFile = runKexec(tool, ['-s', ...image]);
  if (byFile === undefined) return 'kexec_file_load';
  const byOldCall = runKexec(tool, ['-c', ...image]);
  if (byOldCall === undefined) return 'kexec_load';
  throw new RefusedError(
    'KEXEC_FAILED',
    `loading the capture kernel ${plan.kernel}: ${byFile}; with the older call: ${byOldCall}`,
    { kernel: plan.kernel },
    /lockdown|permitted|EKEYREJECTED|key/i.test(byFile)
      ? 'under Secure Boot only a kernel signed by the distribution loads: install its signed package'
      : undefined,
  );
}

/** Unloads whatever capture kernel is loaded. @throws RefusedError `KEXEC_FAILED` */
export function unloadCrashKernel(tool = findKexec()): void {
  // Either call unloads what either has loaded; the file call is the one that lockdown allows.
  const said = runKexec(tool, ['-s', '-p', '-u']) && runKexec(tool, ['-c', '-p', '-u']);
  if (said !== undefined) throw new RefusedError('KEXEC_FAILED', `unloading the capture kernel: ${said}`);
}

/** kexec-tools' program. @throws RefusedError `TOOL_MISSING` */
export function findKexec(places = ['/usr/sbin/kexec', '/sbin/kexec', '/usr/bin/kexec', '/bin/kexec']): string {
  const found = places.find((place) => existsSync(place));
  if (found) return found;
  throw new RefusedError(
    'TOOL_MISSING',
    'loading the capture kernel: kexec is not installed',
    { program: 'kexec' },
    'apt install kexec-tools',
  );
}

/** `none [integrity] confidentiality`: the one in brackets holds. */
export function parseLockdown(text: string): KexecState['lockdown'] {
  const word = /\[(\w+)\]/.exec(text)?.[1];
  return word === 'integrity' || word === 'confidentiality' ? word : 'none';
}

/** Other programs that load a capture kernel of their own: services that are installed and enabled here. */
export function findOtherKdump(root = ''): string[] {
  const wants = `${root}/etc/systemd/system`;
  const services = ['kdump-tools.service', 'kdump.service'];
  return services.filter((service) =>
    list(wants)
      .filter((entry) => entry.endsWith('.wants'))
      .some((entry) => existsSync(join(wants, entry, service))),
  );
}

/** What it said when it failed, or `undefined`. */
function runKexec(tool: string, args: readonly string[]): string | undefined {
  try {
    execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: KEXEC_TIMEOUT_MS });
    return undefined;
  } catch (error) {
    const { stderr, stdout } = error as { stderr?: string; stdout?: string };
    return `${stderr ?? ''}${stdout ?? ''}`.trim().replaceAll('\n', '; ') || String(error);
  }
}

const KEXEC_TIMEOUT_MS = 60_000;

/** All "Crash kernel" ranges; where addresses are hidden (not root), the kernel's own count, which lacks a low part. */
function reservedBytes(root: string): number {
  let bytes = 0;
  for (const line of (readText(`${root}/proc/iomem`) ?? '').split('\n')) {
    const match = /^\s*([0-9a-f]+)-([0-9a-f]+) : Crash kernel$/.exec(line);
    if (match) bytes += Number.parseInt(match[2]!, 16) + 1 - Number.parseInt(match[1]!, 16);
  }
  const counted = Number(readText(`${root}/sys/kernel/kexec_crash_size`) ?? 0);
  return Math.max(bytes > 1 ? bytes : 0, counted);
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
