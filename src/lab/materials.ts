/** Everything that a cycle needs before its guest can start: programs, bundles, runtime image, kernel, disks. All cached. */

import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { DumpError } from '../base/errors.ts';
import { buildRuntimeImage, type RuntimeImage } from '../host/runtime-image.ts';
import { buildCrashModule } from './crash-module.ts';
import { buildGuestInitramfs, buildKernelDisk, buildToolsDisk } from './guest-image.ts';
import { fetchNewestKernel, type Kernel, type KernelWish } from './kernels.ts';
import { findCheckout, keepNewest, labCache } from './paths.ts';

/** What a guest of one kernel boots from. */
export interface Materials {
  readonly kernel: Kernel;
  readonly initramfs: string;
  readonly kernelDisk: string;
  readonly toolsDisk: string;
  readonly runtimeImage: RuntimeImage;
  /** Folder of the bundled command line, for the host's own use. */
  readonly cli: string;
}

/** Builds the bundles where the sources have changed, and gives their folder. */
export function buildBundles(): string {
  const root = findCheckout();
  try {
    execFileSync(process.execPath, [join(root, 'tools/build.ts')], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    const words = String((error as { stderr?: unknown }).stderr ?? error).trim();
    throw new DumpError('LAB_BUILD', `building the bundles: ${words}`, {}, undefined, error);
  }
  return realpathSync(join(root, 'dist'));
}

/** The runtime image of the current sources: 15 s when it is not in the cache. */
export function prepareRuntime(bundles: string): RuntimeImage {
  const cache = labCache('runtime');
  const image = buildRuntimeImage({ node: process.execPath, stage1: join(bundles, 'stage1'), cache });
  keepNewest(image.path);
  return image;
}

/** What has to be fetched or built for guests of a kernel. @param say called with a line for each thing that takes time. */
export function prepareMaterials(
  wish: KernelWish,
  options: { readonly withCrashModule: boolean; readonly say: (line: string) => void },
): Materials {
  const bundles = buildBundles();
  const kernel = fetchNewestKernel(wish, options.say);
  const crashModule = options.withCrashModule ? buildCrashModule(kernel, options.say) : undefined;
  const runtimeImage = prepareRuntime(bundles);
  const cli = join(bundles, 'cli');
  return {
    kernel,
    initramfs: buildGuestInitramfs(kernel, crashModule),
    kernelDisk: buildKernelDisk(kernel),
    toolsDisk: buildToolsDisk({ cli, runtimeImage: runtimeImage.path }),
    runtimeImage,
    cli,
  };
}
