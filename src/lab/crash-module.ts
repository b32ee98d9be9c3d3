/** The lab's crash module, built against a kernel's own headers, which are fetched and unpacked but not installed. */

import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UnsupportedError } from '../base/errors.ts';
import { type Kernel, readDepends, readKernelCompiler, unpackPackages } from './kernels.ts';
import { findCheckout, labCache } from './paths.ts';
import { findProgram, run } from './programs.ts';

/** The built `lab_crash.ko` of a kernel, from the cache or built now; keyed by the module's source. */
export function buildCrashModule(kernel: Kernel, say: (line: string) => void): string {
  const source = join(findCheckout(), 'src/lab/crash-module');
  const key = createHash('sha256')
    .update(readFileSync(join(source, 'lab_crash.c')))
    .digest('hex')
    .slice(0, 12);
  const built = labCache('crash-module', `${kernel.release}-${key}`, 'lab_crash.ko');
  if (existsSync(built)) return built;
  const headers = fetchHeaders(kernel.release, say);
  const work = labCache('crash-module', `${kernel.release}.${process.pid}.tmp`);
  rmSync(work, { recursive: true, force: true });
  cpSync(source, work, { recursive: true });
  const compiler = findCompiler(kernel);
  say(`building the crash module for ${kernel.release} with ${compiler}`);
  run('make', ['-s', '-C', headers, `M=${work}`, `CC=${compiler}`, 'modules']);
  mkdirSync(join(built, '..'), { recursive: true });
  renameSync(join(work, 'lab_crash.ko'), built);
  rmSync(work, { recursive: true });
  return built;
}

/** The unpacked headers of a kernel: the folder that `make -C` wants. */
function fetchHeaders(release: string, say: (line: string) => void): string {
  const root = labCache('headers', release);
  const name = `linux-headers-${release}`;
  if (!existsSync(root)) {
    say(`fetching ${name}`);
    const parts = readDepends(name).filter((part) => /^linux-(headers|kbuild)-/.test(part));
    unpackPackages([name, ...parts], root);
    relocateHeaders(join(root, 'usr/src'), release);
  }
  return join(root, 'usr/src', name);
}

/** Debian's headers include their common part by its installed path; and without vmlinux the build asks for no pahole. */
function relocateHeaders(sources: string, release: string): void {
  const makefile = join(sources, `linux-headers-${release}`, 'Makefile');
  const text = readFileSync(makefile, 'utf8');
  if (text.startsWith('include /usr/src/')) writeFileSync(makefile, text.replace('/usr/src/', `${sources}/`));
  for (const folder of readdirSync(sources)) rmSync(join(sources, folder, 'vmlinux'), { force: true });
}

/** The compiler that the kernel was built with, or the system's. */
function findCompiler(kernel: Kernel): string {
  const wanted = kernel.config === undefined ? undefined : readKernelCompiler(kernel.config);
  for (const name of [wanted, 'gcc']) if (name !== undefined && findProgram(name) !== undefined) return name;
  throw new UnsupportedError(
    'LAB_PACKAGES_MISSING',
    `building the crash module: no ${wanted ?? 'gcc'} here`,
    {},
    `apt-get install ${wanted ?? 'gcc'} make`,
  );
}
