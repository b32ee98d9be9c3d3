/** Page codecs behind one table, keyed by the flag bit that KDUMP uses for them. */

/** Bit of a KDUMP page descriptor's `flags`; 0 = stored raw. Source: makedumpfile 1.7.9 `diskdump_mod.h`, `DUMP_DH_COMPRESSED_*`. */
export const CODEC_FLAG = { raw: 0x00, zlib: 0x01, lzo: 0x02, snappy: 0x04, zstd: 0x20 } as const;

export type CodecName = keyof typeof CODEC_FLAG;

/**
 * Compresses and restores single pages.
 *
 * To add one: `compress` stores into `target` and returns the length, or 0 when the result would not be smaller than
 * `page`. `decompress` fills `page` wholly, or throws `FormatError` for any input that does not; it never writes or
 * reads past its arguments, whatever the bytes. Neither keeps its arguments.
 */
export interface PageCodec {
  readonly name: CodecName;
  readonly flag: number;
  compress(page: Uint8Array, target: Uint8Array): number;
  decompress(stored: Uint8Array, page: Uint8Array): void;
}

/** The codecs at hand, by flag. A reader names one that is missing in an `UnsupportedError`. */
export type CodecTable = ReadonlyMap<number, PageCodec>;

/** A table of the given codecs. */
export function codecTable(codecs: Iterable<PageCodec>): CodecTable {
  return new Map([...codecs].map((codec) => [codec.flag, codec]));
}
