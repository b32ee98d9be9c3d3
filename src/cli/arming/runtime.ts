/** The runtime image for this machine, and the proof that what is in it runs on this CPU. */

import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readSync, rmdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FormatError } from '../../base/errors.ts';
import { openPageKernels } from '../../codec/page-kernels.ts';
import { readKernelBinaries } from '../../host/kernel-binaries.ts';
import { buildRuntimeImage, INTERPRETERS, openRuntimeImage, type RuntimeImage } from '../../host/runtime-image.ts';
import type { Problem } from './machine.ts';

/** The image that was named, or one built from this Node and the stage 1 of this installation. */
export function prepareRuntime(options: {
  readonly runtimeImage?: string;
  readonly runtimeDirectory: string;
}): RuntimeImage {
  if (options.runtimeImage !== undefined) return openRuntimeImage(options.runtimeImage);
  return buildRuntimeImage({ node: process.execPath, stage1: findStage1(), cache: options.runtimeDirectory });
}

/**
 * Does Node run on this CPU, and which page kernels? An image made elsewhere is mounted and its Node started; of one made
 * here, this process is the proof.
 */
export async function tryRuntime(image: string | undefined): Promise<Problem[]> {
  const problems: Problem[] = [];
  if (image !== undefined) problems.push(...tryImage(image));
  const { name } = openPageKernels(readKernelBinaries(), { pageSize: 4096, pagesMax: 1 });
  if (name === 'plain') {
    problems.push({
      code: 'WASM',
      level: 'warning',
      text: 'WebAssembly does not run here: zero pages are found slowly',
    });
  } else if (name === 'wasm') {
    problems.push({
      code: 'WASM_SIMD',
      level: 'warning',
      text: 'this CPU has no SSE4.1: the page kernels without SIMD are used, zero pages are found more slowly',
    });
  }
  return problems;
}

function tryImage(image: string): Problem[] {
  const mount = mkdtempSync(join(tmpdir(), 'diskdump-image-'));
  try {
    execFileSync('mount', ['-t', 'squashfs', '-o', 'loop,ro', image, mount], { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch {
    rmdirSync(mount);
    return [
      { code: 'RUNTIME_UNTRIED', level: 'warning', text: `${image} could not be mounted here, its Node was not tried` },
    ];
  }
  try {
    const main = join(mount, 'stage1/main.mjs');
    if (!existsSync(main)) throw new FormatError('RUNTIME_IMAGE', `${image} has no stage1/main.mjs`, { image });
    if (isThisNode(join(mount, 'bin/node'))) return [];
    const loader = join(mount, 'lib', basename(INTERPRETERS[process.arch] ?? ''));
    execFileSync(loader, ['--library-path', join(mount, 'lib'), join(mount, 'bin/node'), '--check', main], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {},
    });
    return [];
  } catch (error) {
    if (error instanceof FormatError) throw error;
    const stderr = String((error as { stderr?: unknown }).stderr ?? '').trim();
    return [
      {
        code: 'RUNTIME_NODE',
        level: 'error',
        text: `the Node of ${image} does not run on this CPU: ${stderr.split('\n')[0] || 'it was killed'}`,
      },
    ];
  } finally {
    execFileSync('umount', [mount], { stdio: 'ignore' });
    rmdirSync(mount);
  }
}

/** The same size and the same first pages, in which the build id stands: this process shows that it runs. */
function isThisNode(path: string): boolean {
  if (statSync(path).size !== statSync(process.execPath).size) return false;
  const [one, other] = [readHead(path), readHead(process.execPath)];
  return one.equals(other);
}

const HEAD_BYTES = 65536;

function readHead(path: string): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  const fd = openSync(path, 'r');
  try {
    return head.subarray(0, readSync(fd, head, 0, HEAD_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

/** `stage1` beside the bundled command line, or the build of the checkout. */
function findStage1(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const places = [join(here, '../stage1'), join(here, '../../../dist/stage1')];
  return places.find((place) => existsSync(join(place, 'main.mjs'))) ?? (places[0] as string);
}
