/** Reading a stored page and proving that it is that page: codec, length, checksum. */

import type { Crc32 } from '../../base/crc32.ts';
import { FormatError, UnsupportedError, withContext } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { CODEC_FLAG, type CodecTable } from '../../codec/codec.ts';

/** How pages of this dump are restored and proved. */
export interface PageProver {
  readonly codecs: CodecTable;
  readonly crc: Crc32;
  readonly pageSize: number;
}

/**
 * Restores a page from its stored bytes into `page` (pageSize bytes) and proves it by the checksum of the page before
 * compression.
 *
 * @throws FormatError where it is not that page; UnsupportedError for a codec that is not at hand.
 */
export function restorePage(
  prover: PageProver,
  stored: Uint8Array,
  claim: { readonly pfn: number; readonly flags: number; readonly checksum: number },
  page: Uint8Array,
): void {
  const { pfn, flags, checksum } = claim;
  if (flags === CODEC_FLAG.raw) {
    if (stored.length !== prover.pageSize)
      throw new FormatError('PAGE_LENGTH', `page ${hex(pfn)} is stored raw in ${stored.length} bytes`, { pfn });
    page.set(stored);
  } else {
    const codec = prover.codecs.get(flags);
    if (!codec)
      throw new UnsupportedError('PAGE_CODEC_MISSING', `page ${hex(pfn)} is stored with codec flag ${hex(flags)}`, {
        pfn,
        flags,
      });
    try {
      codec.decompress(stored, page);
    } catch (error) {
      throw withContext(error, `page ${hex(pfn)}`);
    }
  }
  const found = prover.crc(page);
  if (found === checksum) return;
  throw new FormatError(
    'PAGE_CHECKSUM',
    `page ${hex(pfn)}: checksum ${hex(found)} of the stored bytes, expected ${hex(checksum)}`,
    { pfn, checksum: found, expected: checksum },
    'these are not the bytes that were captured; `diskdump check` lists the pages that still read',
  );
}
