/** The C library's calls that Node lacks, through koffi where its one file loads; every user has a way without them. */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type * as Koffi from 'koffi';

/** Pointers travel as numbers or bigints, as koffi gives them. */
export type Pointer = bigint;

/** libc, typed. Every call returns what C returns; {@link NativeCalls.errno} is read at once after a failure. */
export interface NativeCalls {
  /** File that koffi was loaded from, for `status`. */
  readonly origin: string;
  errno(): number;
  mmap(address: Pointer, length: number, protection: number, flags: number, fd: number, offset: number): Pointer;
  munmap(address: Pointer, length: number): number;
  /** `argument` is an address or a plain value. */
  ioctl(fd: number, request: number, argument: Uint8Array | null): number;
  /** Moves the descriptor's own position, which `pread` and `pwrite` do not use. */
  lseek(fd: number, offset: number, whence: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  posixFadvise(fd: number, offset: number, length: number, advice: number): number;
  flock(fd: number, operation: number): number;
  /** Ends the process without running anything: no exit handlers, no joins. Does not return. */
  exit(code: number): void;
  /** Bytes at `address`, shared with it, for as long as the caller keeps them mapped. */
  view(address: Pointer, length: number): ArrayBuffer;
}

/** Names the file to load koffi from, or `none`. */
export const KOFFI_VARIABLE = 'DISKDUMP_KOFFI';

let loaded: NativeCalls | undefined;
let tried = false;

/** The calls, or `undefined` where koffi does not load; tried once a thread. Costs about 2 ms and under 1 MB. */
export function nativeCalls(): NativeCalls | undefined {
  if (tried) return loaded;
  tried = true;
  for (const file of candidates()) {
    try {
      loaded = bind(file);
      return loaded;
    } catch {
      // Another C library, another architecture, a file cut short: the next candidate, or none.
    }
  }
  return undefined;
}

/** Beside the bundle first, as `arm` packs it; then the package in a checkout. */
function candidates(): string[] {
  const named = process.env[KOFFI_VARIABLE];
  if (named !== undefined && named !== '') return named === 'none' ? [] : [named];
  const here = dirname(fileURLToPath(import.meta.url));
  const files = [join(here, 'koffi.node')];
  const machine = `linux-${process.arch}`;
  for (let folder = here; ; folder = dirname(folder)) {
    const parent = join(folder, 'node_modules', '@koromix', `koffi-${machine}`);
    for (const libc of ['linux', 'musl']) files.push(join(parent, `${libc}_${process.arch}`, 'koffi.node'));
    if (dirname(folder) === folder) break;
  }
  return files.filter((file) => existsSync(file));
}

function bind(file: string): NativeCalls {
  const koffi = createRequire(import.meta.url)(file) as typeof Koffi;
  // The defaults reserve 3 MiB a thread for arguments; ours are a few words.
  koffi.config({ ...koffi.config(), sync_stack_size: 65536, sync_heap_size: 65536 });
  const libc = koffi.load('libc.so.6');
  const call = (name: string, result: string, parameters: string[]): Koffi.KoffiFunc<(...args: unknown[]) => unknown> =>
    libc.func(name, result, parameters);
  const mmap = call('mmap', 'intptr_t', ['intptr_t', 'size_t', 'int', 'int', 'int', 'int64_t']);
  const munmap = call('munmap', 'int', ['intptr_t', 'size_t']);
  const ioctl = call('ioctl', 'int', ['int', 'ulong', 'void *']);
  const lseek = call('lseek', 'int64_t', ['int', 'int64_t', 'int']);
  const fallocate = call('fallocate', 'int', ['int', 'int', 'int64_t', 'int64_t']);
  const fadvise = call('posix_fadvise', 'int', ['int', 'int64_t', 'int64_t', 'int']);
  const flock = call('flock', 'int', ['int', 'int']);
  const exit = call('_exit', 'void', ['int']);
  return {
    origin: file,
    errno: () => koffi.errno(),
    mmap: (address, length, protection, flags, fd, offset) =>
      BigInt(mmap(address, length, protection, flags, fd, offset) as number | bigint),
    munmap: (address, length) => munmap(address, length) as number,
    ioctl: (fd, request, argument) => ioctl(fd, request, argument) as number,
    lseek: (fd, offset, whence) => Number(lseek(fd, offset, whence)),
    fallocate: (fd, mode, offset, length) => fallocate(fd, mode, offset, length) as number,
    posixFadvise: (fd, offset, length, advice) => fadvise(fd, offset, length, advice) as number,
    flock: (fd, operation) => flock(fd, operation) as number,
    exit: (code) => void exit(code),
    view: (address, length) => koffi.view(address, length),
  };
}
