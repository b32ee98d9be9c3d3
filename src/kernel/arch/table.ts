/** The architectures whose kernels are read, by name. */

import { UnsupportedError } from '../../base/errors.ts';
import type { ArchName } from '../../format/vmcore.ts';
import type { Arch } from './arch.ts';
import { x86_64 } from './x86-64.ts';

const ARCHS: ReadonlyMap<ArchName, Arch> = new Map([x86_64].map((arch) => [arch.name, arch]));

/** The architecture of that name, or `undefined` where its page tables are not read yet. */
export function findArch(name: ArchName): Arch | undefined {
  return ARCHS.get(name);
}

/** @throws UnsupportedError that names the architecture. */
export function getArch(name: ArchName): Arch {
  const arch = ARCHS.get(name);
  if (arch) return arch;
  throw new UnsupportedError(
    'ARCH_UNSUPPORTED',
    `translating virtual addresses: page tables of ${name} are not read yet, only of ${[...ARCHS.keys()].join(', ')}`,
    { arch: name },
    'physical memory can be read: `diskdump read DUMP ADDR LENGTH --phys`',
  );
}
