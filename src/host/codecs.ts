/** Node's own zlib and zstd in the slots of the codec table, and its CRC-32. */

import {
  constants,
  crc32,
  createDeflate,
  createInflate,
  createZstdCompress,
  createZstdDecompress,
  deflateSync,
  inflateSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';
import type { Crc32 } from '../base/crc32.ts';
import { FormatError } from '../base/errors.ts';
import { CODEC_FLAG, type CodecName, type CodecTable, codecTable, type PageCodec } from '../codec/codec.ts';
import { openEngine, type PageEngine } from './page-engine.ts';

/** CRC-32 by zlib: 4 GB/s over 4 KiB pages, three times the portable one. */
export const nodeCrc32: Crc32 = (bytes, seed = 0) => crc32(bytes, seed);

/** How a codec is had from Node: by a stream that is kept, or by the public calls. */
interface NodeCodec {
  readonly name: CodecName;
  readonly flush: number;
  createCompress(): object;
  createDecompress(): object;
  compressSync(page: Uint8Array): Uint8Array;
  decompressSync(stored: Uint8Array, lengthMax: number): Uint8Array;
}

/** A page's frame needs no window beyond the largest page; a hostile one must not ask for 128 MiB. */
const ZSTD_DECOMPRESS = { params: { [constants.ZSTD_d_windowLogMax]: 20 } };
const ZSTD_COMPRESS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** Level 1 and the default window, as makedumpfile's `compress2(…, Z_BEST_SPEED)`. */
const ZLIB_COMPRESS = { level: 1 };

const ZLIB: NodeCodec = {
  name: 'zlib',
  flush: constants.Z_FINISH,
  createCompress: () => createDeflate(ZLIB_COMPRESS),
  createDecompress: () => createInflate(),
  compressSync: (page) => deflateSync(page, ZLIB_COMPRESS),
  decompressSync: (stored, lengthMax) => inflateSync(stored, { maxOutputLength: lengthMax }),
};

const ZSTD: NodeCodec = {
  name: 'zstd',
  flush: constants.ZSTD_e_end,
  createCompress: () => createZstdCompress(ZSTD_COMPRESS),
  createDecompress: () => createZstdDecompress(ZSTD_DECOMPRESS),
  compressSync: (page) => zstdCompressSync(page, ZSTD_COMPRESS),
  decompressSync: (stored, lengthMax) => zstdDecompressSync(stored, { ...ZSTD_DECOMPRESS, maxOutputLength: lengthMax }),
};

/**
 * What this Node can compress and restore. Each table has streams of its own, made at first use.
 *
 * @param engines false keeps to the public calls of `node:zlib`.
 */
export function nodeCodecs(engines = true): CodecTable {
  return codecTable([pageCodec(ZLIB, engines), pageCodec(ZSTD, engines)]);
}

/** Room beyond a page, so that data that restores to more than a page is seen. */
const SLACK = 64;

function pageCodec(codec: NodeCodec, engines: boolean): PageCodec {
  let compressor: PageEngine | undefined;
  let decompressor: PageEngine | undefined;
  let scratch = new Uint8Array(0);
  return {
    name: codec.name,
    flag: CODEC_FLAG[codec.name],
    compress(page, target) {
      compressor ??= (engines ? openCompressor(codec) : undefined) ?? publicCompressor(codec);
      const room = Math.min(page.length, target.length);
      const length = compressor.run(page, room === target.length ? target : target.subarray(0, room));
      return typeof length === 'number' && length < room ? length : 0;
    },
    decompress(stored, page) {
      decompressor ??= (engines ? openDecompressor(codec) : undefined) ?? publicDecompressor(codec);
      if (scratch.length !== page.length + SLACK) scratch = new Uint8Array(page.length + SLACK);
      const length = decompressor.run(stored, scratch);
      if (length !== page.length) throw notAPage(codec.name, length, page.length);
      page.set(scratch.subarray(0, length));
    },
  };
}

function notAPage(codec: CodecName, outcome: number | string, pageSize: number): FormatError {
  const problem = typeof outcome === 'string' ? outcome : `${outcome} bytes or more came out, expected ${pageSize}`;
  return new FormatError('PAGE_CODEC', `restoring a page with ${codec}: ${problem}`, { codec, pageSize });
}

function openCompressor(codec: NodeCodec): PageEngine | undefined {
  return openEngine(codec.createCompress(), codec.flush, { input: TRIAL, expected: codec.compressSync(TRIAL) });
}

function openDecompressor(codec: NodeCodec): PageEngine | undefined {
  return openEngine(codec.createDecompress(), codec.flush, { input: codec.compressSync(TRIAL), expected: TRIAL });
}

function publicCompressor(codec: NodeCodec): PageEngine {
  return { run: (page, target) => copyOut(codec.compressSync(page), target) };
}

function publicDecompressor(codec: NodeCodec): PageEngine {
  return {
    run(stored, target) {
      try {
        return copyOut(codec.decompressSync(stored, target.length), target);
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    },
  };
}

function copyOut(bytes: Uint8Array, target: Uint8Array): number {
  if (bytes.length >= target.length) return target.length;
  target.set(bytes);
  return bytes.length;
}

/** A page of text and numbers, for trials. */
const TRIAL = Uint8Array.from({ length: 4096 }, (_, i) => ((i * i) >> 7) ^ (i & 15));
