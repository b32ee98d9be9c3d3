/** The page kernels as files: beside the bundle that runs, or in the build of the checkout. */

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelBinaries } from '../codec/page-kernels.ts';

/** What is there of them; a file that is missing or unreadable leaves its place empty, and the next best kernel runs. */
export function readKernelBinaries(): KernelBinaries {
  const here = dirname(fileURLToPath(import.meta.url));
  const folder = import.meta.url.endsWith('.ts') ? join(here, '../../dist/kernels') : here;
  return { simd: readIfThere(join(folder, 'page.wasm')), plain: readIfThere(join(folder, 'page-nosimd.wasm')) };
}

function readIfThere(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
