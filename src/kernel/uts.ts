/** The utsname of the dumped kernel, from its own memory. */

import { Cursor } from '../base/cursor.ts';
import { FormatError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { readUtsnameAt, UTSNAME } from '../format/utsname.ts';
import type { Utsname } from '../format/vmcore.ts';
import type { VirtualMemory } from './memory.ts';
import type { Vmcoreinfo } from './vmcoreinfo.ts';

/** Offsets of `uts_namespace.name` to try where vmcoreinfo has none: 0 since 5.11 (9a56493f6942), 4 behind a kref before. */
const NAME_OFFSETS = [0, 4] as const;

/**
 * Reads `init_uts_ns.name`. The offset is proved by the text: sysname is `Linux`, release is what vmcoreinfo says.
 *
 * @throws FormatError `UTS_MISMATCH` where neither offset holds a utsname of this kernel; NoDataError where the page is not there.
 */
export function readUtsname(memory: VirtualMemory, vmcoreinfo: Vmcoreinfo): Utsname {
  const namespace = vmcoreinfo.need('SYMBOL', 'init_uts_ns');
  const told = vmcoreinfo.offset('uts_namespace.name');
  const block = new Uint8Array(UTSNAME.size);
  for (const offset of told === undefined ? NAME_OFFSETS : [told, ...NAME_OFFSETS]) {
    memory.readVirtual(block, namespace + BigInt(offset));
    const utsname = readUtsnameAt(new Cursor(block), 0);
    if (utsname.sysname === 'Linux' && utsname.release === (vmcoreinfo.osRelease ?? utsname.release)) return utsname;
  }
  throw new FormatError(
    'UTS_MISMATCH',
    `reading init_uts_ns at vaddr ${hex(namespace)}: no utsname of ${vmcoreinfo.osRelease ?? 'a Linux kernel'} there`,
    { vaddr: namespace, release: vmcoreinfo.osRelease },
    'the VMCOREINFO note may be of another kernel than the memory',
  );
}
