/** CRC-32 (IEEE 802.3, as zlib's `crc32`), the one checksum of diskdump's own structures and of pages. */

/**
 * A CRC-32 of `bytes`, continuing `seed` (0 to begin). Every implementation gives the same value; `host` may put a
 * native one in this slot.
 */
export type Crc32 = (bytes: Uint8Array, seed?: number) => number;

const SLICES = 8;
// Constants of the module, of signed words: V8 then knows where each table lies and stays in 32-bit integers, twice the speed.
const [T0, T1, T2, T3, T4, T5, T6, T7] = makeTables();

/** Portable CRC-32, eight bytes a step. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      T7[crc & 0xff]! ^
      T6[(crc >>> 8) & 0xff]! ^
      T5[(crc >>> 16) & 0xff]! ^
      T4[crc >>> 24]! ^
      T3[bytes[i + 4]!]! ^
      T2[bytes[i + 5]!]! ^
      T1[bytes[i + 6]!]! ^
      T0[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = T0[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

type Tables = [Table, Table, Table, Table, Table, Table, Table, Table];
type Table = Int32Array;

function makeTables(): Tables {
  const tables = Array.from({ length: SLICES }, () => new Int32Array(256));
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[0]![n] = crc;
  }
  for (let slice = 1; slice < SLICES; slice++) {
    for (let n = 0; n < 256; n++) {
      const crc = tables[slice - 1]![n]!;
      tables[slice]![n] = (crc >>> 8) ^ tables[0]![crc & 0xff]!;
    }
  }
  return tables as Tables;
}
