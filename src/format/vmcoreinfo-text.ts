/** The one line of VMCOREINFO that a reader needs before the kernel is looked at: the page size. */

import { latin1 } from '../base/cursor.ts';

const TEXT_MAX = 65536;

/** `PAGESIZE=` of a VMCOREINFO text, where it is a page size that a dump can have; else `undefined`. */
export function vmcoreinfoPageSize(vmcoreinfo: Uint8Array | undefined): number | undefined {
  if (vmcoreinfo === undefined) return undefined;
  const text = latin1(vmcoreinfo.subarray(0, TEXT_MAX));
  const size = Number(/^PAGESIZE=(\d+)$/m.exec(text)?.[1]);
  return size === 4096 || size === 8192 || size === 16384 || size === 65536 || size === 32768 ? size : undefined;
}
