/** The modules of an installed kernel: what needs what, in which order they load, and their bytes as insmod wants them. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { RefusedError } from '../base/errors.ts';

/** A module to be loaded: its name with underscores, and its file below the tree. */
export interface KernelModule {
  readonly name: string;
  readonly path: string;
}

/**
 * What depmod wrote about `/lib/modules/RELEASE`.
 * Source: kmod 30 `libkmod/docs`, `modules.dep(5)`, `depmod.d(5)`; one line a module in each file.
 */
export interface ModuleTree {
  readonly directory: string;
  /** By name: path relative to `directory`, and the names it needs, nearest first. */
  readonly modules: ReadonlyMap<string, { readonly path: string; readonly needs: readonly string[] }>;
  readonly builtin: ReadonlySet<string>;
  /** By name: modules that should be there before it. */
  readonly before: ReadonlyMap<string, readonly string[]>;
}

/** A line of modules.alias. */
interface ModuleAlias {
  readonly pattern: string;
  readonly name: string;
}

const FILE_LINES_MAX = 200_000;
/** No module of any kernel comes near it. */
const MODULE_BYTES_MAX = 64 * 2 ** 20;

/** `virtio-blk.ko.xz`, `virtio-blk` and `virtio_blk` are one module. */
export function moduleName(text: string): string {
  return basename(text)
    .replace(/\.ko(\.(xz|zst|gz))?$/, '')
    .replaceAll('-', '_');
}

/**
 * Reads `modules.dep`, `modules.builtin` and `modules.softdep` of `directory`.
 *
 * @throws RefusedError `MODULES_MISSING` when there is no modules.dep.
 */
export function openModuleTree(directory: string): ModuleTree {
  if (!existsSync(join(directory, 'modules.dep'))) {
    throw new RefusedError(
      'MODULES_MISSING',
      `reading the modules of the kernel: ${join(directory, 'modules.dep')} is not there`,
      { directory },
      `install the kernel's package again, or run \`depmod ${basename(directory)}\``,
    );
  }
  const modules = new Map<string, { path: string; needs: string[] }>();
  for (const line of lines(directory, 'modules.dep')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const path = line.slice(0, colon);
    modules.set(moduleName(path), { path, needs: words(line.slice(colon + 1)).map(moduleName) });
  }
  return {
    directory,
    modules,
    builtin: new Set(lines(directory, 'modules.builtin').map(moduleName)),
    before: readSoftDependencies(directory),
  };
}

/**
 * Everything that must be loaded for `names`, in an order in which each finds what it needs. Built-in ones need nothing.
 *
 * @throws RefusedError `MODULE_UNKNOWN` for a name that this kernel has neither as a module nor built in.
 */
export function planModules(tree: ModuleTree, names: Iterable<string>): KernelModule[] {
  const order = new Map<string, KernelModule>();
  const visiting = new Set<string>();
  const visit = (name: string, optional: boolean): void => {
    if (order.has(name) || visiting.has(name)) return;
    const found = tree.modules.get(name);
    if (!found) {
      if (optional || tree.builtin.has(name)) return;
      throw unknownModule(tree, name);
    }
    visiting.add(name);
    for (const soft of tree.before.get(name) ?? []) visit(soft, true);
    for (const need of found.needs) visit(need, false);
    order.set(name, { name, path: found.path });
  };
  for (const name of names) visit(moduleName(name), false);
  return [...order.values()];
}

/** The module's bytes, decompressed. Needs the `xz` program for `.ko.xz`. */
export function readModule(tree: ModuleTree, module: KernelModule): Uint8Array {
  const path = join(tree.directory, module.path);
  if (path.endsWith('.zst')) return zstdDecompressSync(readFileSync(path), { maxOutputLength: MODULE_BYTES_MAX });
  if (path.endsWith('.gz')) return gunzipSync(readFileSync(path), { maxOutputLength: MODULE_BYTES_MAX });
  if (!path.endsWith('.xz')) return readFileSync(path);
  try {
    return execFileSync('xz', ['-dc', path], { maxBuffer: MODULE_BYTES_MAX, stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    throw new RefusedError(
      'MODULE_DECOMPRESS',
      `decompressing ${path}: the xz program failed or is not installed`,
      { path },
      'apt install xz-utils',
      error,
    );
  }
}

/**
 * Modules below `folder` (such as `/watchdog/`) whose alias patterns match one of the devices' `modalias`, such as
 * `pci:v00008086d000025AB…`, in the order of the devices.
 */
export function findByModalias(tree: ModuleTree, folder: string, modaliases: Iterable<string>): string[] {
  const aliases = readAliases(tree, folder);
  const names = new Set<string>();
  for (const modalias of modaliases) {
    for (const { pattern, name } of aliases) if (matchesPattern(pattern, modalias)) names.add(name);
  }
  return [...names];
}

/** Only those that can matter: modules.alias of a distribution has 30,000 lines. */
function readAliases(tree: ModuleTree, folder: string): ModuleAlias[] {
  const aliases: ModuleAlias[] = [];
  for (const line of lines(tree.directory, 'modules.alias')) {
    const name = moduleName(line.slice(line.lastIndexOf(' ') + 1));
    if (!tree.modules.get(name)?.path.includes(folder)) continue;
    const [keyword, pattern] = words(line);
    if (keyword === 'alias' && pattern) aliases.push({ pattern, name });
  }
  return aliases;
}

/** `modules.softdep`: `softdep NAME pre: A B post: C`; only what comes before matters for loading. */
function readSoftDependencies(directory: string): Map<string, string[]> {
  const before = new Map<string, string[]>();
  for (const line of lines(directory, 'modules.softdep')) {
    const [keyword, name, ...rest] = words(line);
    if (keyword !== 'softdep' || !name) continue;
    const start = rest.indexOf('pre:');
    if (start < 0) continue;
    const end = rest.indexOf('post:', start);
    before.set(moduleName(name), rest.slice(start + 1, end < 0 ? undefined : end).map(moduleName));
  }
  return before;
}

/** Shell patterns as fnmatch(3): `*`, `?` and `[…]`. */
function matchesPattern(pattern: string, text: string): boolean {
  const source = pattern
    .replace(/[\\^$+.()|{}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  try {
    return new RegExp(`^${source}$`, 's').test(text);
  } catch {
    return false; // an unclosed bracket: matches nothing, as in fnmatch
  }
}

function lines(directory: string, file: string): string[] {
  const path = join(directory, file);
  if (!existsSync(path)) return [];
  return readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, FILE_LINES_MAX)
    .filter((line) => line !== '' && !line.startsWith('#'));
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function unknownModule(tree: ModuleTree, name: string): RefusedError {
  return new RefusedError(
    'MODULE_UNKNOWN',
    `packing the capture kernel's modules: ${name} is neither a module of ${tree.directory} nor built in`,
    { module: name, directory: tree.directory },
    'some distributions ship it in a package of its own, such as linux-modules-extra',
  );
}
