/** The kernel log: the lockless printk ring, record by record. */

import { Cursor } from '../base/cursor.ts';
import { DumpError, FormatError, NoDataError, withContext } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import type { VirtualMemory } from './memory.ts';
import { MemoryReader } from './memory.ts';
import type { PrintkLayout } from './printk-layout.ts';

/** Who printed: a task by its pid, or a CPU outside task context. Kernel notation: `T1`, `C0`. */
export interface LogCaller {
  readonly kind: 'task' | 'cpu';
  readonly id: number;
}

/** One record of the log. */
export interface LogRecord {
  readonly seq: number;
  /** Nanoseconds of the local clock, since boot. */
  readonly tsNs: bigint;
  /** 0 emergency … 7 debug. */
  readonly level: number;
  /** syslog facility; 0 = kernel. */
  readonly facility: number;
  readonly caller: LogCaller | undefined;
  /** The message without its final newline, as bytes: nobody promises UTF-8. */
  readonly text: Uint8Array;
  /** Ends its line; a record without is continued by the next. */
  readonly newline: boolean;
  readonly continuation: boolean;
  /** The text was overwritten, or never fitted. */
  readonly lost: boolean;
  readonly subsystem: string | undefined;
  readonly device: string | undefined;
}

/** How a walk over the log ended. */
export interface LogEnd {
  readonly records: number;
  /** Descriptors whose record should be there and could not be read. */
  readonly unreadable: number;
  /** Why, one line each, the first {@link PROBLEMS_MAX}. */
  readonly problems: readonly string[];
}

/** The ring's arrays as the dump has them. */
export interface PrintkRing {
  /** Address of `struct printk_ringbuffer`. */
  readonly address: bigint;
  /** Descriptors, and infos: a power of two. */
  readonly count: number;
  readonly descs: bigint;
  readonly infos: bigint;
  /** Bytes of text data: a power of two. */
  readonly dataSize: number;
  readonly data: bigint;
  readonly headId: bigint;
  readonly tailId: bigint;
}

export const PROBLEMS_MAX = 8;

/** The kernel's own limit: log_buf_len is at most 2 GiB, with one descriptor for each 32 bytes. */
const SIZE_BITS_MAX = 31;
const COUNT_BITS_MAX = 26;

/** `enum desc_state`, the top two bits of state_var. */
const STATE = { reserved: 0n, committed: 1n, finalized: 2n, reusable: 3n } as const;
const STATE_SHIFT = 62n;
const ID_MASK = (1n << STATE_SHIFT) - 1n;
/** Data-less blocks have bit 0 of a logical position set; this one is an empty line, all others lost their text. */
const EMPTY_LINE_LPOS = 3n;
const LOG_NEWLINE = 0x02;
const LOG_CONT = 0x08;
const CALLER_IS_CPU = 0x80000000;
const WORD = 8;

/**
 * Reads the ring's head.
 * @throws FormatError `PRINTK_RING` where counts or pointers cannot be true; NoDataError where the page is not there.
 */
export function readPrintkRing(memory: VirtualMemory, layout: PrintkLayout): PrintkRing {
  try {
    const reader = new MemoryReader(memory);
    const address = reader.u64(layout.prb);
    const ring = new Cursor(reader.bytes(address, layout.ring.size));
    const desc = layout.ring.descRing;
    const text = layout.ring.textDataRing;
    const countBits = ring.u32(desc + layout.descRing.countBits);
    const sizeBits = ring.u32(text + layout.dataRing.sizeBits);
    if (countBits > COUNT_BITS_MAX || sizeBits > SIZE_BITS_MAX || sizeBits < 3)
      throw new FormatError(
        'PRINTK_RING',
        `the ring at vaddr ${hex(address)} has 2^${countBits} descriptors and 2^${sizeBits} bytes, expected at most 2^${COUNT_BITS_MAX} and 2^${SIZE_BITS_MAX}`,
        { vaddr: address, countBits, sizeBits },
      );
    return {
      address,
      count: 2 ** countBits,
      descs: ring.big(desc + layout.descRing.descs),
      infos: ring.big(desc + layout.descRing.infos),
      dataSize: 2 ** sizeBits,
      data: ring.big(text + layout.dataRing.data),
      headId: ring.big(desc + layout.descRing.headId) & ID_MASK,
      tailId: ring.big(desc + layout.descRing.tailId) & ID_MASK,
    };
  } catch (error) {
    throw withContext(error, 'reading the printk ring');
  }
}

/**
 * Walks the log from the oldest record to the newest. Damaged or missing parts cost the records that lie in them and no
 * others; what was lost is in the value that the generator returns. Memory: one record.
 *
 * @throws as {@link readPrintkRing}.
 */
export function* walkLog(memory: VirtualMemory, layout: PrintkLayout): Generator<LogRecord, LogEnd, undefined> {
  const ring = readPrintkRing(memory, layout);
  const record = new RecordReader(memory, layout, ring);
  const problems: string[] = [];
  let records = 0;
  let unreadable = 0;
  const note = (problem: string): void => {
    if (problems.length < PROBLEMS_MAX && !problems.includes(problem)) problems.push(problem);
  };
  let span = ((ring.headId - ring.tailId) & ID_MASK) + 1n;
  let id = ring.tailId;
  if (span > BigInt(ring.count)) {
    note(`head ${hex(ring.headId)} and tail ${hex(ring.tailId)} lie further apart than the ring has descriptors`);
    span = BigInt(ring.count);
    id = (ring.headId - span + 1n) & ID_MASK;
  }
  for (let left = Number(span); left > 0; left--, id = (id + 1n) & ID_MASK) {
    try {
      const found = record.read(id);
      if (found === undefined) continue;
      records++;
      yield found;
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      unreadable++;
      note(problemOf(error));
    }
  }
  return { records, unreadable, problems };
}

/** All records in memory: for logs of ordinary size. */
export function readLog(memory: VirtualMemory, layout: PrintkLayout): { records: LogRecord[]; end: LogEnd } {
  const records: LogRecord[] = [];
  const walk = walkLog(memory, layout);
  for (let step = walk.next(); ; step = walk.next()) {
    if (step.done) return { records, end: step.value };
    records.push(step.value);
  }
}

/** Reads single records; its buffers are reused, the values it gives are not. */
class RecordReader {
  readonly #memory: VirtualMemory;
  readonly #layout: PrintkLayout;
  readonly #ring: PrintkRing;
  readonly #slotMask: bigint;
  readonly #desc: Cursor;
  readonly #info: Cursor;
  readonly #blockId = new Cursor(new Uint8Array(WORD));

  constructor(memory: VirtualMemory, layout: PrintkLayout, ring: PrintkRing) {
    this.#memory = memory;
    this.#layout = layout;
    this.#ring = ring;
    this.#slotMask = BigInt(ring.count - 1);
    this.#desc = new Cursor(new Uint8Array(layout.desc.size));
    this.#info = new Cursor(new Uint8Array(layout.info.size));
  }

  /** The record of a descriptor id; `undefined` where the descriptor holds none: reserved, reusable or of another lap. */
  read(id: bigint): LogRecord | undefined {
    const { desc, info } = this.#layout;
    const slot = Number(id & this.#slotMask);
    this.#memory.readVirtual(this.#desc.bytes, this.#ring.descs + BigInt(slot * desc.size));
    const stateVar = this.#desc.big(desc.stateVar);
    const state = stateVar >> STATE_SHIFT;
    if ((stateVar & ID_MASK) !== id || (state !== STATE.committed && state !== STATE.finalized)) return undefined;
    this.#memory.readVirtual(this.#info.bytes, this.#ring.infos + BigInt(slot * info.size));
    const text = this.#text(id);
    const flagsLevel = this.#info.u8(info.flagsLevel);
    const callerId = info.callerId === undefined ? undefined : this.#info.u32(info.callerId);
    return {
      seq: this.#info.u64(info.seq),
      tsNs: this.#info.big(info.tsNsec),
      level: flagsLevel >> 5,
      facility: this.#info.u8(info.facility),
      caller: callerId === undefined ? undefined : parseCaller(callerId),
      text: text ?? new Uint8Array(0),
      newline: (flagsLevel & LOG_NEWLINE) !== 0,
      continuation: (flagsLevel & LOG_CONT) !== 0,
      lost: text === undefined,
      subsystem: this.#name(info.subsystem, info.subsystemLength),
      device: this.#name(info.device, info.deviceLength),
    };
  }

  /** The record's text; empty for an empty line, `undefined` where the ring lost it. */
  #text(id: bigint): Uint8Array | undefined {
    const begin = this.#desc.big(this.#layout.desc.begin);
    const next = this.#desc.big(this.#layout.desc.next);
    if (((begin | next) & 1n) !== 0n)
      return begin === EMPTY_LINE_LPOS && next === EMPTY_LINE_LPOS ? new Uint8Array(0) : undefined;
    const block = placeBlock(begin, next, this.#ring.dataSize);
    if (block.length < WORD)
      throw new FormatError(
        'PRINTK_BLOCK',
        `record ${hex(id)} has a text block of ${block.length} bytes, from ${hex(begin)} to ${hex(next)}`,
        { id, begin, next },
      );
    const at = this.#ring.data + BigInt(block.offset);
    this.#memory.readVirtual(this.#blockId.bytes, at);
    if ((this.#blockId.big(0) & ID_MASK) !== id)
      throw new FormatError(
        'PRINTK_BLOCK',
        `text block of record ${hex(id)} at vaddr ${hex(at)} belongs to record ${hex(this.#blockId.big(0))}`,
        { id, vaddr: at },
      );
    const text = new Uint8Array(Math.min(this.#info.u16(this.#layout.info.textLen), block.length - WORD));
    this.#memory.readVirtual(text, at + BigInt(WORD));
    return text;
  }

  #name(offset: number | undefined, length: number): string | undefined {
    return (offset !== undefined && this.#info.text(offset, length)) || undefined;
  }
}

/**
 * Where a block from logical position `begin` to `next` lies in a ring of `size` bytes. A block never wraps: one that would is
 * stored from offset 0 on. Whether it would is asked of `next - 1`, so that a block which ends exactly at the ring's end stays
 * where it begins. Kernels before 6.19 never let one end there, so the rule holds for all. A block that cannot be has length 0.
 */
export function placeBlock(begin: bigint, next: bigint, size: number): { offset: number; length: number } {
  const ring = BigInt(size);
  const laps = (next - 1n) / ring - begin / ring;
  if (next <= begin || laps > 1n) return { offset: 0, length: 0 };
  return laps === 0n
    ? { offset: Number(begin % ring), length: Number(next - begin) }
    : { offset: 0, length: Number((next - 1n) % ring) + 1 };
}

function parseCaller(callerId: number): LogCaller {
  const isCpu = callerId >= CALLER_IS_CPU;
  return { kind: isCpu ? 'cpu' : 'task', id: isCpu ? callerId - CALLER_IS_CPU : callerId };
}

/** Neighbouring records fail for one reason; the message without its addresses would say the same thing again. */
function problemOf(error: DumpError): string {
  return error instanceof NoDataError
    ? error.message.replace(/^reading \d+ bytes at vaddr 0x[0-9a-f]+: /, '')
    : error.message;
}
