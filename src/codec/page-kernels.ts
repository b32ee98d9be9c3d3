/** Zero test and CRC-32 over batches of pages: by WebAssembly where it runs, else in plain TypeScript. */

import { crc32 } from '../base/crc32.ts';
import { assert } from '../base/errors.ts';
import { isZeroPage } from './zero.ts';

/** How large a batch is. */
export interface BatchPlan {
  /** Bytes: a multiple of 64. */
  readonly pageSize: number;
  /** Pages of a batch; 256 pages of 4 KiB are 1 MiB. */
  readonly pagesMax: number;
}

/**
 * A batch of pages and what is computed over it.
 *
 * To add one: own the memory of `pages`, `zero` and `checksums`, and fill the latter two for the first `count` pages. Every
 * implementation gives the same values.
 */
export interface PageKernels {
  /** What runs: for messages and benchmarks. */
  readonly name: 'simd' | 'wasm' | 'plain';
  /** The batch: the caller reads pages straight into it. On a boundary of 64 KiB of its buffer. */
  readonly pages: Uint8Array;
  /** One byte for each page: 1 = nothing but zeros. */
  readonly zero: Uint8Array;
  /** CRC-32 (IEEE) of each page. */
  readonly checksums: Uint32Array;
  /** Fills `zero` for the first `count` pages and returns how many are zero. */
  findZeros(count: number): number;
  /** Fills `checksums` for the first `count` pages. */
  computeChecksums(count: number): void;
}

/** The kernels as files: `page.wasm` and `page-nosimd.wasm`, built by `tools/build.ts`. */
export interface KernelBinaries {
  readonly simd?: Uint8Array | undefined;
  readonly plain?: Uint8Array | undefined;
}

/**
 * The fastest kernels that this processor runs. V8 wants SSE4.1 for SIMD, which `qemu64` and old hosts lack: whether it is there is
 * found by compiling.
 */
export function openPageKernels(binaries: KernelBinaries, plan: BatchPlan): PageKernels {
  assert(plan.pageSize % 64 === 0 && plan.pageSize > 0 && plan.pagesMax > 0, 'a batch is of whole pages', { ...plan });
  return openWasm('simd', binaries.simd, plan) ?? openWasm('wasm', binaries.plain, plan) ?? plainKernels(plan);
}

/** The same in TypeScript, for where WebAssembly does not run. */
function plainKernels({ pageSize, pagesMax }: BatchPlan): PageKernels {
  const pages = new Uint8Array(pageSize * pagesMax);
  const zero = new Uint8Array(pagesMax);
  const checksums = new Uint32Array(pagesMax);
  return {
    name: 'plain',
    pages,
    zero,
    checksums,
    findZeros(count) {
      let zeros = 0;
      for (let i = 0; i < count; i++) zeros += zero[i] = isZeroPage(pages, i * pageSize, pageSize) ? 1 : 0;
      return zeros;
    },
    computeChecksums(count) {
      for (let i = 0; i < count; i++) checksums[i] = crc32(pages.subarray(i * pageSize, (i + 1) * pageSize));
    },
  };
}

const WASM_PAGE = 65536;
/** Layout of the kernels' memory: tables, checksums, zero bytes, then the batch on a boundary of 64 KiB. */
const TABLES = 1024;
const TABLES_BYTES = 8192;
const CHECKSUMS = TABLES + TABLES_BYTES;

/** Exports of `kernels/page.ts`. */
interface KernelExports {
  makeTables(tables: number): void;
  zeroPages(at: number, pageSize: number, count: number, out: number): number;
  crcPages(tables: number, at: number, pageSize: number, count: number, out: number): void;
}

function openWasm(name: 'simd' | 'wasm', binary: Uint8Array | undefined, plan: BatchPlan): PageKernels | undefined {
  if (binary === undefined) return undefined;
  const { pageSize, pagesMax } = plan;
  const zeroAt = CHECKSUMS + 4 * pagesMax;
  const pagesAt = Math.ceil((zeroAt + pagesMax) / WASM_PAGE) * WASM_PAGE;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((pagesAt + pageSize * pagesMax) / WASM_PAGE) });
  const kernels = instantiate(binary, memory);
  if (kernels === undefined) return undefined;
  kernels.makeTables(TABLES);
  return {
    name,
    pages: new Uint8Array(memory.buffer, pagesAt, pageSize * pagesMax),
    zero: new Uint8Array(memory.buffer, zeroAt, pagesMax),
    checksums: new Uint32Array(memory.buffer, CHECKSUMS, pagesMax),
    findZeros(count) {
      checkCount(count, pagesMax);
      return kernels.zeroPages(pagesAt, pageSize, count, zeroAt);
    },
    computeChecksums(count) {
      checkCount(count, pagesMax);
      kernels.crcPages(TABLES, pagesAt, pageSize, count, CHECKSUMS);
    },
  };
}

function instantiate(binary: Uint8Array, memory: WebAssembly.Memory): KernelExports | undefined {
  try {
    const module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
    return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as KernelExports;
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError) return undefined;
    throw error;
  }
}

function checkCount(count: number, pagesMax: number): void {
  assert(count >= 0 && count <= pagesMax, `${count} pages in a batch of ${pagesMax}`, { count, pagesMax });
}
