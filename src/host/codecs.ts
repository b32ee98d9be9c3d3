/** Node's own zlib and zstd in the slots of the codec table, and its CRC-32. */

import { constants, crc32, deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { Crc32 } from '../base/crc32.ts';
import { FormatError } from '../base/errors.ts';
import { CODEC_FLAG, type CodecName, type CodecTable, codecTable, type PageCodec } from '../codec/codec.ts';

/** CRC-32 by zlib: 4 GB/s over 4 KiB pages, three times the portable one. */
export const nodeCrc32: Crc32 = (bytes, seed = 0) => crc32(bytes, seed);

/** What this Node can compress and restore. */
export function nodeCodecs(): CodecTable {
  return codecTable([zlib, zstd]);
}

/** Room beyond a page, so that a full page comes back as one buffer and a longer one is seen. */
const SLACK = 64;
/** A page's frame needs no window beyond the largest page; a hostile one must not ask for 128 MiB. */
const ZSTD_WINDOW_LOG_MAX = 20;

const zlib: PageCodec = {
  name: 'zlib',
  flag: CODEC_FLAG.zlib,
  // Level 1 and the default window, as makedumpfile's compress2(…, Z_BEST_SPEED).
  compress: (page, target) =>
    keepIfSmaller(deflateSync(page, { level: 1, chunkSize: page.length + SLACK }), page, target),
  decompress: (stored, page) =>
    restore('zlib', page, () => inflateSync(stored, { chunkSize: page.length + SLACK, maxOutputLength: page.length })),
};

const zstd: PageCodec = {
  name: 'zstd',
  flag: CODEC_FLAG.zstd,
  compress: (page, target) =>
    keepIfSmaller(
      zstdCompressSync(page, {
        chunkSize: page.length + SLACK,
        params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_contentSizeFlag]: 1 },
      }),
      page,
      target,
    ),
  decompress: (stored, page) =>
    restore('zstd', page, () =>
      zstdDecompressSync(stored, {
        chunkSize: page.length + SLACK,
        maxOutputLength: page.length,
        params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX },
      }),
    ),
};

function keepIfSmaller(compressed: Uint8Array, page: Uint8Array, target: Uint8Array): number {
  if (compressed.length >= page.length || compressed.length > target.length) return 0;
  target.set(compressed);
  return compressed.length;
}

function restore(codec: CodecName, page: Uint8Array, inflate: () => Uint8Array): void {
  const restored = attempt(codec, inflate);
  if (restored.length !== page.length) {
    throw new FormatError(
      'PAGE_LENGTH',
      `restoring a page with ${codec}: ${restored.length} bytes came out, expected ${page.length}`,
      { codec, length: restored.length, pageSize: page.length },
    );
  }
  page.set(restored);
}

function attempt(codec: CodecName, inflate: () => Uint8Array): Uint8Array {
  try {
    return inflate();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FormatError('PAGE_CODEC', `restoring a page with ${codec}: ${reason}`, { codec }, undefined, error);
  }
}
