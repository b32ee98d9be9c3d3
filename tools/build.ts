/**
 * Builds what runs as bundles: the command line, stage 1, and the page kernels.
 *
 * `dist` is a symbolic link to `.cache/dist/KEY`, where KEY is the hash of everything that goes in (sources, lockfile,
 * this file, the Node version). A build is made aside and linked in one step, so a program that runs from an older one
 * keeps its files, and two builds at once do no harm.
 *
 *     dist/cli/main.mjs            the command line, with a chunk for each verb
 *     dist/cli/device-thread.mjs   the thread of a dump device's calls
 *     dist/cli/capture-root/       scripts of the capture kernel, which arm packs
 *     dist/stage1/main.mjs         what runs at panic; with device-thread.mjs, koffi.node and *.wasm all that it needs
 *     dist/kernels/*.wasm          page kernels, also copied beside both bundles
 *     dist/build.json              what was built: key, files with sizes, the sources of each bundle, and `startup`, the
 *                                  bytes that a bundle loads before its first line runs
 *
 * Run as a program it builds what is stale and prints the folder.
 */

import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BuildOptions, Metafile } from 'esbuild';

/** The checkout's root. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = join(ROOT, '.cache', 'dist');
const KERNEL_CACHE = join(ROOT, '.cache', 'kernels');
const LINK = join(ROOT, 'dist');
const KERNEL_SOURCES = join(ROOT, 'src', 'codec', 'kernels');
/** Builds kept, so that programs running from an older one find their chunks. */
const BUILDS_KEPT = 4;

/** What a build is. */
export interface Build {
  /** First 16 hex digits of the SHA-256 of the inputs. */
  readonly key: string;
  /** Absolute path of the build, free of symbolic links. */
  readonly folder: string;
  /** False when it was there already. */
  readonly built: boolean;
}

/** What `build.json` says of one bundle. */
export interface BundleFacts {
  /** Bytes loaded before its first line runs. */
  readonly startup: number;
  /** Sources in those bytes, from the root. */
  readonly inputs: readonly string[];
}

/** The shape of `build.json`. */
export interface BuildRecord {
  readonly key: string;
  /** Bytes of every file, by its path in the build. */
  readonly files: Readonly<Record<string, number>>;
  readonly bundles: Readonly<Record<string, BundleFacts>>;
}

/** One bundle: its program, where it goes, and what lies beside it. */
interface Bundle {
  readonly folder: string;
  readonly entries: readonly { readonly source: string; readonly out: string }[];
  /** Verbs are loaded when they are called; stage 1 has everything in one file. */
  readonly splitting: boolean;
  /** Folders copied beside it as they are. */
  readonly folders: readonly string[];
}

const BUNDLES: readonly Bundle[] = [
  {
    folder: 'cli',
    splitting: true,
    folders: ['src/host/capture-root'],
    entries: [
      { source: 'src/cli/main.ts', out: 'main' },
      { source: 'src/driver/device-thread.ts', out: 'device-thread' },
    ],
  },
  {
    folder: 'stage1',
    splitting: false,
    folders: [],
    entries: [
      { source: 'src/stage1/main.ts', out: 'main' },
      { source: 'src/driver/device-thread.ts', out: 'device-thread' },
    ],
  },
];

/** Line of `src/codec/kernels/build.json`: one compilation by AssemblyScript's `asc`. */
interface KernelPlan {
  readonly entry: string;
  readonly out: string;
  readonly flags: readonly string[];
}

/** Makes `dist` current. About 20 ms when it is already. */
export async function ensureBuilt(): Promise<Build> {
  const key = inputKey();
  const folder = join(CACHE, key);
  const built = !existsSync(join(folder, 'build.json'));
  if (built) await build(key, folder);
  link(folder);
  return { key, folder: realpathSync(folder), built };
}

/** The key of the inputs as they are now. */
export function inputKey(): string {
  const files = [join(ROOT, 'package-lock.json'), join(ROOT, 'package.json'), fileURLToPath(import.meta.url)];
  files.push(...listFiles(join(ROOT, 'src')).filter((file) => !file.endsWith('.test.ts')));
  return hashFiles(files, process.versions.node);
}

async function build(key: string, folder: string): Promise<void> {
  const scratch = `${folder}.${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  try {
    const kernels = await buildKernels();
    cpSync(kernels, join(scratch, 'kernels'), { recursive: true });
    const bundles: Record<string, BundleFacts> = {};
    for (const bundle of BUNDLES) Object.assign(bundles, await buildBundle(bundle, scratch, kernels));
    const record: BuildRecord = { key, files: fileSizes(scratch), bundles };
    writeFileSync(join(scratch, 'build.json'), `${JSON.stringify(record, null, 1)}\n`);
    moveInto(scratch, folder);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  prune();
}

async function buildBundle(bundle: Bundle, scratch: string, kernels: string): Promise<Record<string, BundleFacts>> {
  const { build: esbuild } = await import('esbuild');
  const out = join(scratch, bundle.folder);
  const options: BuildOptions = {
    absWorkingDir: ROOT,
    entryPoints: bundle.entries.map(({ source, out: name }) => ({ in: source, out: name })),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: bundle.splitting,
    chunkNames: 'chunk-[hash]',
    platform: 'node',
    target: 'node24',
    format: 'esm',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'eof',
    metafile: true,
    logLevel: 'silent',
  };
  const { metafile } = await esbuild(options);
  if (!bundle.splitting) refuseDynamicImports(metafile!);
  for (const file of readdirSync(kernels)) cpSync(join(kernels, file), join(out, file));
  for (const path of bundle.folders) cpSync(join(ROOT, path), join(out, basename(path)), { recursive: true });
  cpSync(koffiFile(), join(out, 'koffi.node'));
  return Object.fromEntries(
    Object.entries(metafile!.outputs)
      .filter(([, { entryPoint }]) => bundle.entries.some(({ source }) => source === entryPoint))
      .map(([path]) => [relative(scratch, join(ROOT, path)), bundleFacts(metafile!, path)]),
  );
}

/** Follows the static imports of a bundle; what is imported dynamically loads later. */
function bundleFacts(metafile: Metafile, entry: string): BundleFacts {
  const chunks = new Set([entry]);
  for (const path of chunks) {
    for (const { path: next, kind, external } of metafile.outputs[path]!.imports) {
      if (kind === 'import-statement' && external !== true) chunks.add(next);
    }
  }
  const outputs = [...chunks].map((path) => metafile.outputs[path]!);
  const inputs = new Set(outputs.flatMap((output) => Object.keys(output.inputs)));
  return { startup: outputs.reduce((sum, { bytes }) => sum + bytes, 0), inputs: [...inputs].sort() };
}

/** At panic nothing may be looked up late: what is not in the one file is not there. */
function refuseDynamicImports(metafile: Metafile): void {
  for (const [path, input] of Object.entries(metafile.inputs)) {
    const late = input.imports.find(({ kind, external }) => kind === 'dynamic-import' && external !== true);
    if (late !== undefined) throw new Error(`${path} imports ${late.path} dynamically, stage 1 may not`);
  }
}

/** koffi's native part for this machine; the capture kernel runs on the same one. */
function koffiFile(): string {
  return join(ROOT, 'node_modules', '@koromix', `koffi-linux-${process.arch}`, `linux_${process.arch}`, 'koffi.node');
}

/** Compiles the page kernels unless they are cached; they change seldom and take longer than the bundles. */
async function buildKernels(): Promise<string> {
  const plans = JSON.parse(readFileSync(join(KERNEL_SOURCES, 'build.json'), 'utf8')) as KernelPlan[];
  const lock = join(ROOT, 'package-lock.json');
  const folder = join(KERNEL_CACHE, hashFiles([...listFiles(KERNEL_SOURCES), lock], ''));
  if (existsSync(folder)) return folder;
  const scratch = `${folder}.${process.pid}`;
  mkdirSync(scratch, { recursive: true });
  const { default: asc } = await import('assemblyscript/asc');
  for (const { entry, out, flags } of plans) {
    const errors: string[] = [];
    const stderr = { write: (chunk: Uint8Array | string) => errors.push(String(chunk)) > 0 };
    const source = relative(ROOT, join(KERNEL_SOURCES, entry));
    const args = [source, '--outFile', relative(ROOT, join(scratch, out)), '--baseDir', ROOT, ...flags];
    const { error } = await asc.main(args, { stderr });
    if (error !== null) throw new Error(`asc ${args.join(' ')}: ${error.message}\n${errors.join('')}`);
  }
  moveInto(scratch, folder);
  return folder;
}

/** Puts a finished folder in its place; when another process was first, its folder stays: it is the same. */
function moveInto(scratch: string, folder: string): void {
  try {
    renameSync(scratch, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Points `dist` to `folder` in one step, and renews the stamp that `bin/diskdump` compares with the sources. */
function link(folder: string): void {
  const target = relative(ROOT, folder);
  if (!linksTo(target)) {
    const fresh = `${LINK}.${process.pid}`;
    rmSync(fresh, { force: true });
    symlinkSync(target, fresh);
    if (existsSync(LINK) && linkTarget() === undefined) rmSync(LINK, { recursive: true });
    renameSync(fresh, LINK);
  }
  const now = new Date();
  utimesSync(join(folder, 'build.json'), now, now);
}

function linksTo(target: string): boolean {
  return linkTarget() === target;
}

function linkTarget(): string | undefined {
  try {
    return readlinkSync(LINK);
  } catch {
    return undefined;
  }
}

function prune(): void {
  const builds = readdirSync(CACHE)
    .map((name) => join(CACHE, name))
    .map((path) => ({ path, usedMs: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.usedMs - a.usedMs);
  for (const { path } of builds.slice(BUILDS_KEPT)) rmSync(path, { recursive: true, force: true });
}

function fileSizes(folder: string): Record<string, number> {
  return Object.fromEntries(listFiles(folder).map((path) => [relative(folder, path), statSync(path).size]));
}

function listFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function hashFiles(files: readonly string[], salt: string): string {
  const hash = createHash('sha256').update(salt);
  for (const file of files) hash.update(`\0${relative(ROOT, file)}\0`).update(readFileSync(file));
  return hash.digest('hex').slice(0, 16);
}

if (import.meta.main) {
  try {
    const { folder, built } = await ensureBuilt();
    if (process.argv.includes('--verbose') || built) process.stderr.write(`${built ? 'built' : 'fresh'}: ${folder}\n`);
  } catch (error) {
    process.stderr.write(`diskdump: building the bundles: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 70;
  }
}
