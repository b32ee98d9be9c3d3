/**
 * Which folder may import what: the import table as data, and its check.
 *
 * `base` is below everything and knows nothing; the world (files, sockets, clocks, processes) is touched only at the
 * edges. Tests may import anything; `src` never imports `test`, `tools`, `bench` or `examples`.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { ROOT } from './build.ts';

/** What the files of one folder of `src` may import besides their own folder. */
export interface Layer {
  /** Folders of `src` (`base`), or single files (`capture/machine.ts`). */
  readonly imports: readonly string[];
  /** Whether `node:*` may appear. */
  readonly node: boolean;
  /** Packages, types included. */
  readonly packages?: readonly string[];
}

const CORES = ['base', 'codec', 'format', 'kernel', 'capture', 'savecore', 'netdump', 'analyze', 'fleet'];
const EDGES = ['sys', 'driver', 'host'];

/**
 * What `host` needs to know of the cores that it serves: their contracts, and the functions that give a file its
 * meaning. One line a file, so that a new need is a decision.
 */
const HOST_CONTRACTS = ['format/vmcore.ts', 'capture/machine.ts', 'savecore/store.ts'];

export const LAYERS: Readonly<Record<string, Layer>> = {
  base: { imports: [], node: false },
  codec: { imports: ['base'], node: false },
  format: { imports: ['base', 'codec'], node: false },
  kernel: { imports: ['base', 'format'], node: false },
  capture: { imports: ['base', 'codec', 'format', 'kernel'], node: false },
  analyze: { imports: ['base', 'format', 'kernel'], node: false },
  savecore: { imports: ['base', 'codec', 'format', 'kernel', 'analyze'], node: false },
  fleet: { imports: ['base', 'format', 'analyze'], node: false },
  netdump: { imports: ['base'], node: false },
  sys: { imports: ['base'], node: true, packages: ['koffi'] },
  driver: { imports: ['base', 'netdump', 'sys'], node: true },
  host: { imports: ['base', 'codec', 'sys', ...HOST_CONTRACTS], node: true, packages: ['smol-toml', 'zod'] },
  stage1: { imports: ['base', 'codec', 'format', 'kernel', 'capture', 'netdump', ...EDGES], node: true },
  server: { imports: [...CORES, ...EDGES], node: true },
  lab: { imports: [...CORES, ...EDGES, 'stage1', 'cli'], node: true },
  cli: { imports: [...CORES, ...EDGES, 'lab', 'server'], node: true, packages: ['@stricli/core'] },
  ui: { imports: [...CORES, 'server/api.ts'], node: false },
};

/** Files outside `src` that a layer may import all the same. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = { cli: ['package.json'] };

/** An import that the table forbids, or that leads nowhere. */
export interface Violation {
  /** Path from the root. */
  readonly file: string;
  readonly line: number;
  readonly specifier: string;
  readonly reason: string;
}

/** One import, export-from, dynamic import or worker address in a source. */
interface Reference {
  readonly specifier: string;
  readonly line: number;
}

/** Checks every file of `folder` (default: `src` of this checkout). */
export async function checkLayers(folder: string = join(ROOT, 'src')): Promise<Violation[]> {
  const { preProcessFile } = (await import('typescript')).default;
  const violations: Violation[] = [];
  for (const path of sourceFiles(folder)) {
    const text = readFileSync(join(folder, path), 'utf8');
    const imported = preProcessFile(text, true, true).importedFiles.map(({ fileName, pos }) => ({
      specifier: fileName,
      line: lineOf(text, pos),
    }));
    for (const reference of [...imported, ...findWorkerFiles(text)]) {
      const reason = refuse(folder, path, reference.specifier);
      if (reason !== undefined) violations.push({ file: join(relative(ROOT, folder), path), ...reference, reason });
    }
  }
  return violations;
}

/** Why `path` (from `folder`) may not import `specifier`, or `undefined`. */
function refuse(folder: string, path: string, specifier: string): string | undefined {
  const name = path.split('/')[0]!;
  const layer = LAYERS[name];
  if (layer === undefined) return `folder ${name} is not in the table of tools/layers.ts`;
  if (isBuiltin(specifier)) {
    if (!specifier.startsWith('node:')) return `write node:${specifier}`;
    return layer.node ? undefined : `${name} is a core: no node:* there`;
  }
  if (!specifier.startsWith('.')) return refusePackage(name, layer, specifier);
  const target = resolve(folder, dirname(path), specifier);
  if (!existsSync(target)) return 'there is no such file';
  return refuseFile(name, layer, relative(folder, target));
}

function refusePackage(name: string, layer: Layer, specifier: string): string | undefined {
  const packages = layer.packages ?? [];
  const known = packages.some((allowed) => specifier === allowed || specifier.startsWith(`${allowed}/`));
  return known ? undefined : `${name} may import ${packages.length === 0 ? 'no package' : packages.join(', ')}`;
}

function refuseFile(name: string, layer: Layer, target: string): string | undefined {
  if (target.startsWith('..')) {
    const outside = target.slice('../'.length);
    return OUTSIDE[name]?.includes(outside) ? undefined : 'it lies outside src';
  }
  if (target.endsWith('.test.ts')) return 'a test is imported by nobody';
  const folder = target.split('/')[0]!;
  if (folder === name || layer.imports.includes(folder) || layer.imports.includes(target)) return undefined;
  return `${name} may import ${layer.imports.length === 0 ? 'nothing' : layer.imports.join(' ')}`;
}

/** Files that `new URL('./x.ts', import.meta.url)` names; bundles (`.mjs`, `.node`, `.wasm`) are the build's affair. */
function findWorkerFiles(text: string): Reference[] {
  return [...text.matchAll(/new URL\(([^;]*?)import\.meta\.url/g)].flatMap((call) =>
    [...call[1]!.matchAll(/'(\.[^']*\.ts)'/g)].map((literal) => ({
      specifier: literal[1]!,
      line: lineOf(text, call.index),
    })),
  );
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts') && !path.startsWith('codec/kernels/'))
    .sort();
}

function lineOf(text: string, position: number): number {
  let line = 1;
  for (let i = 0; i < position; i++) if (text.charCodeAt(i) === 10) line++;
  return line;
}

if (import.meta.main) {
  const violations = await checkLayers();
  for (const { file, line, specifier, reason } of violations) console.error(`${file}:${line}: ${specifier}: ${reason}`);
  if (violations.length > 0) process.exitCode = 1;
}
