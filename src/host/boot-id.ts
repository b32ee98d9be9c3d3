/** The id that the running kernel drew when it started. */

import { readFileSync } from 'node:fs';
import { parseUuid } from '../base/hex.ts';

const BOOT_ID_PATH = '/proc/sys/kernel/random/boot_id';

/** 16 bytes; zeros where the kernel does not tell. */
export function readBootId(path = BOOT_ID_PATH): Uint8Array {
  try {
    return parseUuid(readFileSync(path, 'utf8').trim()) ?? new Uint8Array(16);
  } catch {
    return new Uint8Array(16);
  }
}
