/** Signature blocks: what formatting leaves on a dump device, so that stage 1 knows each block is its to overwrite. */

import { BlockWriter } from '../../base/cursor.ts';
import type { DumpDevice } from '../../base/device.ts';
import { readDevice } from '../../base/device.ts';
import { hexBytes } from '../../base/hex.ts';
import { type Random, sfc32 } from '../../base/random.ts';
import { type Label, readBlocks } from './label.ts';
import { GEOMETRY } from './log-layout.ts';

const BLOCK = GEOMETRY.signatureBlock;
const WORDS = BLOCK / 4;
/** ASCII `disk` and `dump` as little-endian words. */
const WORD_DISK = 0x6b736964;
const WORD_DUMP = 0x706d7564;
/** Blocks 2 and 3 hold the third label (8 KiB, two blocks of 4 KiB). */
const THIRD_LABEL_BLOCK = GEOMETRY.labelCopy3 / BLOCK;
const THIRD_LABEL_BLOCKS = 2;

/** The additive constant of the chain: 7 in every kernel's source, 3 in the white paper's text. */
export type SignatureAdd = 7 | 3;

/** The number that block `offset` of a device carries: offset / 4096 modulo 2^32. */
export function signatureNumber(offset: number): number {
  return (offset / BLOCK) % 2 ** 32;
}

/**
 * Fills `block` (4096 bytes) with the signature of number `n`: `disk`, `dump`, n, then each word is the one before it
 * plus `add`, times 11.
 *
 * Source: Linux 2.4.21 and 2.6.9 of RHEL, `drivers/block/diskdump.c`.
 */
export function fillSignature(block: Uint8Array, n: number, add: SignatureAdd = 7): void {
  const out = new BlockWriter(block);
  out.u32(0, WORD_DISK);
  out.u32(4, WORD_DUMP);
  for (let i = 2, word = n >>> 0; i < WORDS; i++, word = Math.imul(word + add, 11) >>> 0) out.u32(4 * i, word);
}

/** Which constant's signature of number `n` the block holds, all 4096 bytes of it; `undefined` if neither. */
export function matchSignature(block: Uint8Array, n: number): SignatureAdd | undefined {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK);
  if (view.getUint32(0, true) !== WORD_DISK || view.getUint32(4, true) !== WORD_DUMP) return undefined;
  const second = view.getUint32(12, true);
  const add = ([7, 3] as const).find((constant) => Math.imul(n + constant, 11) >>> 0 === second);
  if (add === undefined) return undefined;
  for (let i = 2, word = n >>> 0; i < WORDS; i++, word = Math.imul(word + add, 11) >>> 0)
    if (view.getUint32(4 * i, true) !== word) return undefined;
  return add;
}

/**
 * Blocks that carry a signature, ascending: block numbers (offset / 4096) within the capacity, never those of the third
 * label.
 *
 * With B = capacity / 4096, the candidates are 0..B−1 without 2 and 3, N = B − 2 of them, renumbered 0..N−1 in order.
 * If `sampleRate` is 0 or 2^sampleRate ≥ N, all. Else candidate 0, candidate N−1, and K = 2^sampleRate − 2 of the M = N − 2
 * between (numbered 0..M−1), chosen by Floyd's method: for j = M−K … M−1, t = r mod (j + 1); take t, or j if t is taken
 * already. Each r is 64 bits, the first of two outputs of sfc32 (`base/random.ts`, twelve outputs dropped) the high word;
 * its seed a, b, c, d is the UUID's 16 bytes as four little-endian words.
 */
export function* planSignatureBlocks(uuid: Uint8Array, capacity: number, sampleRate: number): Generator<number> {
  const count = capacity / BLOCK - THIRD_LABEL_BLOCKS;
  const place = (candidate: number): number =>
    candidate < THIRD_LABEL_BLOCK ? candidate : candidate + THIRD_LABEL_BLOCKS;
  if (sampleRate === 0 || 2 ** sampleRate >= count) {
    for (let candidate = 0; candidate < count; candidate++) yield place(candidate);
    return;
  }
  yield place(0);
  for (const inner of sampleInner(uuid, count - 2, 2 ** sampleRate - 2)) yield place(inner + 1);
  yield place(count - 1);
}

/** How many blocks {@link planSignatureBlocks} gives. */
export function countSignatureBlocks(capacity: number, sampleRate: number): number {
  const count = capacity / BLOCK - THIRD_LABEL_BLOCKS;
  return sampleRate === 0 ? count : Math.min(count, 2 ** sampleRate);
}

function sampleInner(uuid: Uint8Array, count: number, wanted: number): Float64Array {
  const view = new DataView(uuid.buffer, uuid.byteOffset, 16);
  const random = sfc32([
    view.getUint32(0, true),
    view.getUint32(4, true),
    view.getUint32(8, true),
    view.getUint32(12, true),
  ]);
  const chosen = new Set<number>();
  for (let j = count - wanted; j < count; j++) {
    const t = remainder64(random, j + 1);
    chosen.add(chosen.has(t) ? j : t);
  }
  return Float64Array.from(chosen).sort();
}

function remainder64(random: Random, divisor: number): number {
  const high = BigInt(random.u32());
  const low = BigInt(random.u32());
  return Number(((high << 32n) | low) % BigInt(divisor));
}

/** What {@link checkSignatures} found wrong with one block. */
export interface SignatureProblem {
  /** Block number, offset / 4096. */
  readonly block: number;
  readonly offset: number;
  /** A sentence: which block, and what was found in it. */
  readonly message: string;
}

/**
 * Checks every signature that the label's parameters name: 2^sampleRate single blocks, or all of the capacity in reads
 * of 2^blockOrder blocks.
 *
 * @param progress called after each read with blocks checked so far.
 * @returns the first block that is wrong, or `undefined`.
 * @throws DeviceError.
 */
export function checkSignatures(
  device: DumpDevice,
  label: Pick<Label, 'identity'>,
  progress?: (checked: number) => void,
): SignatureProblem | undefined {
  const { capacity, uuid, sampleRate, signatureAdd, blockOrder } = label.identity;
  const whole = countSignatureBlocks(capacity, sampleRate) === countSignatureBlocks(capacity, 0);
  if (whole) return checkAll(device, capacity, signatureAdd, 2 ** blockOrder * BLOCK, progress);
  let checked = 0;
  for (const block of planSignatureBlocks(uuid, capacity, sampleRate)) {
    const problem = compareBlock(readBlocks(device, block * BLOCK, BLOCK), block, signatureAdd);
    if (problem) return problem;
    progress?.(++checked);
  }
  return undefined;
}

function checkAll(
  device: DumpDevice,
  capacity: number,
  add: SignatureAdd,
  readBytes: number,
  progress: ((checked: number) => void) | undefined,
): SignatureProblem | undefined {
  const buffer = new Uint8Array(Math.max(readBytes, device.blockSize));
  for (let offset = 0; offset < capacity; offset += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, capacity - offset));
    readDevice(device, part, offset);
    for (let at = 0; at < part.length; at += BLOCK) {
      const block = (offset + at) / BLOCK;
      if (block >= THIRD_LABEL_BLOCK && block < THIRD_LABEL_BLOCK + THIRD_LABEL_BLOCKS) continue;
      const problem = compareBlock(part.subarray(at, at + BLOCK), block, add);
      if (problem) return problem;
    }
    progress?.((offset + part.length) / BLOCK);
  }
  return undefined;
}

function compareBlock(bytes: Uint8Array, block: number, add: SignatureAdd): SignatureProblem | undefined {
  const offset = block * BLOCK;
  const found = matchSignature(bytes, signatureNumber(offset));
  if (found === add) return undefined;
  return { block, offset, message: `bad signature in block ${block}: ${describeBlock(bytes, block, add)}` };
}

function describeBlock(bytes: Uint8Array, block: number, add: SignatureAdd): string {
  const other = matchSignature(bytes, signatureNumber(block * BLOCK));
  if (other !== undefined) return `the signature is made with +${other}, the label says +${add}`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, BLOCK);
  if (view.getUint32(0, true) === WORD_DISK && view.getUint32(4, true) === WORD_DUMP) {
    const n = view.getUint32(8, true);
    if (matchSignature(bytes, n) !== undefined) return `it carries the signature of block ${n}`;
    return `a signature that is damaged (number ${n})`;
  }
  return describeContents(bytes);
}

/** What the first bytes of a block look like, for messages: zeros, printable text, or hex. */
export function describeContents(bytes: Uint8Array): string {
  if (bytes.every((byte) => byte === 0)) return 'zeros';
  const start = bytes.subarray(0, 16);
  const text = String.fromCharCode(...start).match(/^[ -~]{4,}/)?.[0];
  return text === undefined ? `foreign data ${hexBytes(start)}` : `foreign data '${text}'`;
}
