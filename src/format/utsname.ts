/** `struct new_utsname`, six NUL-padded strings of 65 bytes, as kernels and dump headers hold it. */

import type { BlockWriter, Cursor } from '../base/cursor.ts';
import type { Utsname } from './vmcore.ts';

/** Source: linux `include/uapi/linux/utsname.h`, `struct new_utsname`; the same since 2.1. */
export const UTSNAME = {
  size: 390,
  field: 65, //       each, with at least one NUL
  sysname: 0,
  nodename: 65,
  release: 130,
  version: 195,
  machine: 260,
  domainname: 325,
} as const;

/** A utsname of empty strings: what a header holds when its writer knew no kernel. */
export const EMPTY_UTSNAME: Utsname = {
  sysname: '',
  nodename: '',
  release: '',
  version: '',
  machine: '',
  domainname: '',
};

/** Reads the six strings at `offset` of a block. */
export function readUtsnameAt(block: Cursor, offset: number): Utsname {
  const text = (field: number): string => block.text(offset + field, UTSNAME.field);
  return {
    sysname: text(UTSNAME.sysname),
    nodename: text(UTSNAME.nodename),
    release: text(UTSNAME.release),
    version: text(UTSNAME.version),
    machine: text(UTSNAME.machine),
    domainname: text(UTSNAME.domainname),
  };
}

/** Writes the six strings at `offset` of a block, cut to 64 bytes each. */
export function writeUtsnameAt(block: BlockWriter, offset: number, utsname: Utsname): void {
  block.text(offset + UTSNAME.sysname, UTSNAME.field, utsname.sysname);
  block.text(offset + UTSNAME.nodename, UTSNAME.field, utsname.nodename);
  block.text(offset + UTSNAME.release, UTSNAME.field, utsname.release);
  block.text(offset + UTSNAME.version, UTSNAME.field, utsname.version);
  block.text(offset + UTSNAME.machine, UTSNAME.field, utsname.machine);
  block.text(offset + UTSNAME.domainname, UTSNAME.field, utsname.domainname);
}
