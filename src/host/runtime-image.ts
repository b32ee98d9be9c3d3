/**
 * The runtime image: one squashfs with Node, its libraries and stage 1. It is the same for every kernel of a machine, is
 * built once and kept under a name made of what went into it.
 *
 * In the capture kernel it is loop-mounted rather than unpacked, so that its pages can be dropped again: that is what
 * lets 192 MB do.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { FormatError, RefusedError } from '../base/errors.ts';

/** A finished image. */
export interface RuntimeImage {
  readonly path: string;
  readonly bytes: number;
  /** SHA-256 of the file, lower-case hex: PID 1 of the capture kernel compares it. */
  readonly sha256: string;
  /** What could be better about it. */
  readonly warnings: readonly string[];
}

export interface RuntimeImageOptions {
  /** The Node executable to pack. */
  readonly node: string;
  /** Directory with the built stage 1: `main.mjs` and what lies beside it. */
  readonly stage1: string;
  /** Where finished images are kept. Created if missing. */
  readonly cache: string;
}

/** Where the dynamic loader of Node lies, by `process.arch`; the initramfs has a link there. */
export const INTERPRETERS: Readonly<Record<string, string>> = {
  x64: '/lib64/ld-linux-x86-64.so.2',
  arm64: '/lib/ld-linux-aarch64.so.1',
};

/** Changes when the layout of the image does. */
const RECIPE = 'diskdump-runtime/1';
/** stack: zstd 42 MB, xz 38 MB but slower to read; 64 KiB blocks waste less on Node's scattered reads than 128. */
const SQUASHFS_OPTIONS = ['-comp', 'zstd', '-b', '65536', '-all-root', '-no-xattrs', '-noappend', '-no-progress'];
const SQUASHFS_TIMES = ['-mkfs-time', '0', '-all-time', '0'];

/**
 * Finds or builds the image for `options`: takes about 15 s of both CPUs the first time.
 *
 * @throws RefusedError `TOOL_MISSING` without mksquashfs, `STAGE1_MISSING` without a built stage 1.
 */
export function buildRuntimeImage(options: RuntimeImageOptions): RuntimeImage {
  if (!existsSync(join(options.stage1, 'main.mjs'))) {
    throw new RefusedError(
      'STAGE1_MISSING',
      `building the runtime image: ${join(options.stage1, 'main.mjs')} is not there`,
      { stage1: options.stage1 },
      'in a checkout: npm run build',
    );
  }
  const stage1 = listFiles(options.stage1);
  const libraries = findLibraries([options.node, ...stage1.filter((path) => path.endsWith('.node'))]);
  const strip = findProgram('strip');
  const warnings = strip ? [] : ['Node is packed unstripped (some 10 MB more): apt install binutils'];
  const key = imageKey([options.node, ...libraries, ...stage1], [RECIPE, strip ? 'stripped' : 'whole']);
  const path = join(options.cache, `runtime-${key}.img`);
  if (!existsSync(path)) {
    mkdirSync(options.cache, { recursive: true, mode: 0o755 });
    const staging = mkdtempSync(join(tmpdir(), 'diskdump-runtime-'));
    try {
      stageFiles({ staging, node: options.node, libraries, stage1Root: options.stage1, stage1, strip });
      tryNode(staging);
      makeSquashfs(staging, path);
    } finally {
      rmSync(staging, { recursive: true, force: true });
    }
  }
  return { ...openRuntimeImage(path), warnings };
}

/** Takes an image that was built elsewhere. @throws FormatError `RUNTIME_IMAGE` when the file is no squashfs. */
export function openRuntimeImage(path: string): RuntimeImage {
  if (!existsSync(path)) throw notAnImage(path, 'it is not there');
  const bytes = readFileSync(path);
  if (bytes.length < 96 || bytes.readUInt32LE(0) !== SQUASHFS_MAGIC) throw notAnImage(path, 'it is no squashfs');
  return { path, bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), warnings: [] };
}

/** Source: Linux 6.12 `fs/squashfs/squashfs_fs.h`, SQUASHFS_MAGIC: `hsqs`. */
const SQUASHFS_MAGIC = 0x73717368;

function notAnImage(path: string, why: string): FormatError {
  return new FormatError('RUNTIME_IMAGE', `opening the runtime image ${path}: ${why}, expected a squashfs`, { path });
}

/** Shared libraries and the loader that `programs` need, as `ldd` resolves them here. */
function findLibraries(programs: readonly string[]): string[] {
  const found = new Map<string, string>();
  for (const program of programs) {
    for (const line of runTool('ldd', [program], 'apt install libc-bin').split('\n')) {
      if (/=>\s+not found/.test(line)) {
        const name = line.trim().split(/\s/)[0] as string;
        throw new RefusedError(
          'LIBRARY_MISSING',
          `packing ${program}: its library ${name} is not installed`,
          { program, library: name },
          name.startsWith('libatomic') ? 'apt install libatomic1' : undefined,
        );
      }
      const path = /(?:=>\s+)?(\/\S+)\s+\(0x[0-9a-f]+\)/.exec(line)?.[1];
      if (path) found.set(basename(path), path);
    }
  }
  return [...found.values()].sort();
}

interface Staging {
  readonly staging: string;
  readonly node: string;
  readonly libraries: readonly string[];
  readonly stage1Root: string;
  readonly stage1: readonly string[];
  readonly strip: string | undefined;
}

function stageFiles({ staging, node, libraries, stage1Root, stage1, strip }: Staging): void {
  for (const name of ['bin', 'lib', 'stage1']) mkdirSync(join(staging, name), { mode: 0o755 });
  const program = join(staging, 'bin/node');
  copyFileSync(node, program);
  chmodSync(program, 0o755);
  if (strip) runTool(strip, ['--strip-all', program], 'apt install binutils');
  for (const library of libraries) {
    const target = join(staging, 'lib', basename(library));
    copyFileSync(library, target);
    chmodSync(target, 0o755);
  }
  for (const file of stage1) {
    const target = join(staging, 'stage1', file.slice(stage1Root.length + 1));
    mkdirSync(join(target, '..'), { recursive: true, mode: 0o755 });
    copyFileSync(file, target);
    chmodSync(target, 0o644);
  }
}

/** The stripped Node with the packed libraries must still run: better to know now than in the capture kernel. */
function tryNode(staging: string): void {
  const loader = join(staging, 'lib', basename(INTERPRETERS[process.arch] ?? 'ld.so'));
  const command = ['--library-path', join(staging, 'lib'), join(staging, 'bin/node'), '--version'];
  try {
    execFileSync(loader, command, { stdio: ['ignore', 'pipe', 'pipe'], env: {} });
  } catch (error) {
    throw new RefusedError(
      'RUNTIME_NODE',
      `running the packed Node: it does not start on this machine`,
      {},
      undefined,
      error,
    );
  }
}

function makeSquashfs(staging: string, path: string): void {
  const partial = `${path}.${process.pid}`;
  const environment = { ...process.env };
  delete environment.SOURCE_DATE_EPOCH; // mksquashfs refuses it beside -mkfs-time
  try {
    runTool(
      'mksquashfs',
      [staging, partial, ...SQUASHFS_OPTIONS, ...SQUASHFS_TIMES],
      'apt install squashfs-tools',
      environment,
    );
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}

function imageKey(files: readonly string[], words: readonly string[]): string {
  const hash = createHash('sha256');
  for (const word of [...words, ...SQUASHFS_OPTIONS, process.arch]) hash.update(`${word}\0`);
  for (const file of files) {
    hash.update(`${basename(file)}\0${statSync(file).size}\0`);
    hash.update(readFileSync(file));
  }
  return hash.digest('hex').slice(0, 16);
}

function listFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function findProgram(name: string): string | undefined {
  const directories = (process.env.PATH ?? '').split(':').concat('/usr/sbin', '/sbin', '/usr/bin', '/bin');
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

function runTool(program: string, args: readonly string[], hint: string, env: NodeJS.ProcessEnv = process.env): string {
  const path = program.includes('/') ? program : findProgram(program);
  if (!path) {
    throw new RefusedError(
      'TOOL_MISSING',
      `building the runtime image: ${program} is not installed`,
      { program },
      hint,
    );
  }
  try {
    return execFileSync(path, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env, maxBuffer: 2 ** 24 });
  } catch (error) {
    const stderr = String((error as { stderr?: unknown }).stderr ?? '').trim();
    throw new RefusedError(
      'TOOL_FAILED',
      `running ${program}: ${stderr || 'it failed'}`,
      { program },
      undefined,
      error,
    );
  }
}
