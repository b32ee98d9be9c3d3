/** Numbers that nobody can foretell: identities of devices and dumps. */

import { getRandomValues } from 'node:crypto';
import type { Random } from '../base/random.ts';

/** The kernel's random numbers, through node:crypto. */
export const systemRandom: Random = {
  u32: () => getRandomValues(new Uint32Array(1))[0]!,
};

/** A version 4 UUID as its 16 bytes (RFC 9562), in the order in which they are stored. */
export function randomUuid(random: Random = systemRandom): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  for (let offset = 0; offset < bytes.length; offset += 4) view.setUint32(offset, random.u32());
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes;
}
