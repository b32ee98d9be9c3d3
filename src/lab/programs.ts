/** The programs that the lab calls: run, looked for, and installed from the distribution where we may. */

import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { UnsupportedError } from '../base/errors.ts';

/** What the lab calls, and the Debian and Ubuntu package that has it. */
export const LAB_PROGRAMS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  mksquashfs: 'squashfs-tools',
  kexec: 'kexec-tools',
  modinfo: 'kmod',
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  'dpkg-deb': 'dpkg',
  'apt-get': 'apt',
  xz: 'xz-utils',
  zstd: 'zstd',
  strip: 'binutils',
} as const;

/** For the crash module; the distribution's kbuild programs are linked against libelf. */
export const MODULE_PROGRAMS = { gcc: 'gcc', make: 'make', 'libelf.so.1': 'libelf1' } as const;

/** Programs of the end-to-end tests' second opinions and faults. */
export const TEST_PROGRAMS = { makedumpfile: 'makedumpfile', nbdkit: 'nbdkit', drgn: 'python3-drgn' } as const;

const LIBRARY_FOLDERS = ['/usr/lib/x86_64-linux-gnu', '/lib/x86_64-linux-gnu', '/usr/lib64', '/lib64'];

/** A program of the system by name; `undefined` where there is none. /sbin and /usr/sbin are looked into as well. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here: the next folder
    }
  }
  return undefined;
}

/** The packages that are still missing for these programs, each once, sorted. */
export function findMissingPackages(programs: Readonly<Record<string, string>>): string[] {
  const missing = new Set<string>();
  for (const [name, pkg] of Object.entries(programs)) if (!isThere(name)) missing.add(pkg);
  if ('qemu-system-x86_64' in programs && !existsSync(findStaticBusybox() ?? '')) missing.add('busybox-static');
  return [...missing].sort();
}

function isThere(name: string): boolean {
  if (!name.includes('.so.')) return findProgram(name) !== undefined;
  return LIBRARY_FOLDERS.some((folder) => existsSync(join(folder, name)));
}

/** A busybox that needs no libraries: the first process of guests. */
export function findStaticBusybox(): string | undefined {
  const path = findProgram('busybox');
  if (path === undefined) return undefined;
  const head = readFileSync(path).subarray(0, 4096).toString('latin1');
  return head.includes('/lib64/ld-linux') || head.includes('/lib/ld-linux') ? undefined : path;
}

/**
 * Makes sure that the programs are there: installs what is missing when run as root on Debian or Ubuntu.
 *
 * @param say called with one line before something is installed.
 * @throws UnsupportedError `LAB_PACKAGES_MISSING`, with the command to run, when it may not install.
 */
export function ensurePrograms(programs: Readonly<Record<string, string>>, say: (line: string) => void): void {
  const missing = findMissingPackages(programs);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined) throw missingPackages(missing);
  say(`installing ${missing.join(' ')}`);
  installPackages(missing);
  const still = findMissingPackages(programs);
  if (still.length > 0) throw missingPackages(still);
}

/** Runs a program to its end and gives what it printed. A failure carries its last words. */
export function run(program: string, args: readonly string[], options: { cwd?: string; input?: string } = {}): string {
  const path = findProgram(program) ?? program;
  const result = spawnSync(path, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    env: { ...process.env, LC_ALL: 'C' },
    ...options,
  });
  if (result.error) throw new UnsupportedError('LAB_PROGRAM', `running ${program}: ${result.error.message}`);
  if (result.status === 0) return result.stdout;
  const words = `${result.stderr}${result.stdout}`.trim().split('\n').slice(-5).join(' | ');
  throw new UnsupportedError('LAB_PROGRAM', `running ${program} ${args.join(' ')}: exit ${result.status}: ${words}`);
}

/** Fetches apt's lists anew, where we may. @returns whether it did. */
export function refreshPackageLists(): boolean {
  if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined) return false;
  return spawnSync('apt-get', ['update'], { stdio: 'ignore' }).status === 0;
}

function installPackages(packages: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = ['install', '-y', '--no-install-recommends', ...packages];
  if (spawnSync('apt-get', install, { stdio: 'ignore', env }).status === 0) return;
  refreshPackageLists();
  execFileSync('apt-get', install, { stdio: ['ignore', 'ignore', 'pipe'], env });
}

function missingPackages(missing: readonly string[]): UnsupportedError {
  return new UnsupportedError(
    'LAB_PACKAGES_MISSING',
    `the lab needs programs of ${missing.length} packages that are not installed: ${missing.join(' ')}`,
    { packages: missing },
    `apt-get install --no-install-recommends ${missing.join(' ')}`,
  );
}
