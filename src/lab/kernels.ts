/** Kernels of the distribution: which ones the configured suites offer, fetched and unpacked without installing them. */

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { UnsupportedError } from '../base/errors.ts';
import { labCache } from './paths.ts';
import { refreshPackageLists, run } from './programs.ts';

/** One kernel package that apt knows. */
export interface KernelPackage {
  /** `linux-image-6.1.0-56-cloud-amd64`. */
  readonly name: string;
  /** What `uname -r` will say. */
  readonly release: string;
  /** First two numbers: `6.1`. */
  readonly series: string;
  readonly flavour: KernelFlavour;
}

/** `cloud`: built for virtual machines; `generic`: for all; the distribution's other kernels (rt, low latency) are left out. */
export type KernelFlavour = 'cloud' | 'generic';

/** What is asked for; each member left out means any. */
export interface KernelWish {
  /** Exactly this one. */
  readonly release?: string;
  readonly series?: string;
  readonly flavour?: KernelFlavour;
}

/** A kernel unpacked in the cache, or installed on this machine. */
export interface Kernel {
  readonly release: string;
  readonly vmlinuz: string;
  /** The folder `modules/RELEASE`, with `modules.dep` made. */
  readonly modules: string;
  /** `/boot/config`, where the package has it. */
  readonly config: string | undefined;
}

/** What a release ends with, longest first: Debian's names, then Ubuntu's. */
const FLAVOURS: readonly (readonly [string, KernelFlavour])[] = [
  ['-cloud-amd64', 'cloud'],
  ['-amd64', 'generic'],
  ['-virtual', 'cloud'],
  ['-generic', 'generic'],
];
/** How many older packages to try when the newest of a list is gone from the archive. */
const FETCH_TRIES_MAX = 4;

/** Recognizes a kernel package by its name; `undefined` for meta-packages, debug symbols, unsigned and real-time ones. */
export function parseKernelPackage(name: string): KernelPackage | undefined {
  const match = /^linux-image-((\d+\.\d+)\.\d+[-+][\w.+-]+)$/.exec(name);
  if (!match || /-rt-/.test(name)) return undefined;
  const release = match[1] as string;
  const flavour = FLAVOURS.find(([suffix]) => release.endsWith(suffix))?.[1];
  if (flavour === undefined) return undefined;
  return { name, release, series: match[2] as string, flavour };
}

/** Newest first, comparing runs of digits as numbers: 6.12.117 before 6.12.99 before 6.1.0-56. */
export function compareReleases(a: string, b: string): number {
  const [x, y] = [a, b].map((release) => (release.match(/\d+/g) ?? []).map(Number)) as [number[], number[]];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const difference = (y[i] ?? -1) - (x[i] ?? -1);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : Number(a > b);
}

/** The kernels of the configured suites that fit, newest first. */
export function findKernels(wish: KernelWish = {}): KernelPackage[] {
  const names = run('apt-cache', ['pkgnames', 'linux-image-']).split('\n');
  return names
    .map(parseKernelPackage)
    .filter((kernel) => kernel !== undefined)
    .filter((kernel) => wish.release === undefined || kernel.release === wish.release)
    .filter((kernel) => wish.series === undefined || kernel.series === wish.series)
    .filter((kernel) => wish.flavour === undefined || kernel.flavour === wish.flavour)
    .sort((a, b) => compareReleases(a.release, b.release));
}

/**
 * The newest kernel that fits the wish, from the cache or from the archive.
 *
 * @throws UnsupportedError `LAB_NO_KERNEL` when no suite offers one.
 */
export function fetchNewestKernel(wish: KernelWish, say: (line: string) => void): Kernel {
  const first = tryKernels(wish, say);
  if (first.kernel) return first.kernel;
  // Lists that are missing or old name packages that the archive no longer has.
  const { kernel, offered, failure } = refreshPackageLists() ? tryKernels(wish, say) : first;
  if (kernel) return kernel;
  const what = [wish.release, wish.series, wish.flavour].filter((word) => word !== undefined).join(' ') || 'any';
  throw new UnsupportedError(
    'LAB_NO_KERNEL',
    `looking for a kernel (${what}): ${offered} packages offered, none could be fetched${failure ? `: ${failure}` : ''}`,
    {},
    'apt-get update, and a suite with linux-image packages in the apt sources',
  );
}

function tryKernels(
  wish: KernelWish,
  say: (line: string) => void,
): { kernel?: Kernel; offered: number; failure?: string } {
  const offered = findKernels(wish);
  let failure: string | undefined;
  for (const candidate of offered.slice(0, FETCH_TRIES_MAX)) {
    try {
      return { kernel: fetchKernel(candidate, say), offered: offered.length };
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
    }
  }
  return { offered: offered.length, ...(failure !== undefined && { failure }) };
}

/** Fetches and unpacks one kernel package, with the package of its modules where the distribution splits them. */
export function fetchKernel(pkg: KernelPackage, say: (line: string) => void): Kernel {
  const root = labCache('kernels', pkg.release);
  if (!existsSync(root)) {
    say(`fetching ${pkg.name}`);
    const split = readDepends(pkg.name).filter((name) => name === `linux-modules-${pkg.release}`);
    unpackPackages([pkg.name, ...split], root);
    run('depmod', ['-b', usrMerged(root), pkg.release]);
  }
  return locateKernel(root, pkg.release);
}

/** Fetches and unpacks packages of any kind into `root`, which appears whole or not at all. */
export function unpackPackages(names: readonly string[], root: string): void {
  const folder = labCache('packages');
  const work = `${root}.${process.pid}.tmp`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  for (const name of names) {
    const file = downloadPackage(name, folder);
    run('dpkg-deb', ['-x', file, work]);
    rmSync(file);
  }
  if (existsSync(root)) rmSync(work, { recursive: true });
  else renameSync(work, root);
}

/** Names that a package depends on, alternatives and versions left out. */
export function readDepends(name: string): string[] {
  const line = /^Depends: (.*)$/m.exec(run('apt-cache', ['show', '--no-all-versions', name]))?.[1] ?? '';
  return line.split(',').map((part) => (part.trim().split(/[ |]/)[0] ?? '').trim());
}

function downloadPackage(name: string, folder: string): string {
  const isThis = (file: string) => file.startsWith(`${name}_`) && file.endsWith('.deb');
  const work = join(folder, `${name}.${process.pid}.tmp`);
  mkdirSync(work, { recursive: true });
  try {
    run('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', name], { cwd: work });
    const file = readdirSync(work).find(isThis);
    if (file === undefined) throw new UnsupportedError('LAB_DOWNLOAD', `downloading ${name}: apt-get left no file`);
    renameSync(join(work, file), join(folder, file));
    return join(folder, file);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function locateKernel(root: string, release: string): Kernel {
  const modules = ['lib/modules', 'usr/lib/modules'].map((path) => join(root, path, release)).find(existsSync);
  const vmlinuz = [`boot/vmlinuz-${release}`, `usr/lib/modules/${release}/vmlinuz`]
    .map((path) => join(root, path))
    .find(existsSync);
  if (modules === undefined || vmlinuz === undefined) {
    throw new UnsupportedError(
      'LAB_KERNEL_LAYOUT',
      `unpacking kernel ${release}: no ${modules ? 'vmlinuz' : 'modules'} under ${basename(root)}`,
    );
  }
  const config = join(root, 'boot', `config-${release}`);
  return { release, vmlinuz, modules, config: existsSync(config) ? config : undefined };
}

/** `depmod -b` wants the folder above `lib/modules`. */
function usrMerged(root: string): string {
  return existsSync(join(root, 'lib/modules')) ? root : join(root, 'usr');
}

/** The compiler that built a kernel, as its configuration says: `gcc-12`; `undefined` where it does not say. */
export function readKernelCompiler(config: string): string | undefined {
  const text = readFileSync(config, 'utf8');
  return /CONFIG_CC_VERSION_TEXT="([\w-]*gcc-\d+)/.exec(text)?.[1]?.replace(/^x86_64-linux-gnu-/, '');
}

/** Writes `bytes` under a name of its own first, so that a cache never holds half a file. */
export function writeWhole(path: string, bytes: Uint8Array | string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, bytes);
  renameSync(temporary, path);
}
