/** The label of a dump device: whose it is (identity) and what it holds (state), in three copies. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, latin1, roundDown } from '../../base/cursor.ts';
import { type DumpDevice, readDevice, writeDevice } from '../../base/device.ts';
import { AssertionError, DeviceError, DumpError, UnsupportedError, UsageError } from '../../base/errors.ts';
import { formatUuid, hex } from '../../base/hex.ts';
import { GEOMETRY, LABEL_IDENTITY, LABEL_STATE, STATE } from './log-layout.ts';

/** What the device holds; `spec/dump-device.md` §4 says what each allows. */
export type DeviceState = keyof typeof STATE;

/** Written by format alone. */
export interface LabelIdentity {
  /** 16 bytes, new at each format. */
  readonly uuid: Uint8Array;
  /** Bytes from the start of the disk; 0 for a whole disk or a file. */
  readonly start: number;
  /** Bytes of the device as formatted. */
  readonly deviceSize: number;
  /** Logical block in bytes. */
  readonly logicalBlock: number;
  /** 2^n signature blocks are written and checked; 0 = all. */
  readonly sampleRate: number;
  /** A full check reads 2^n blocks at a time. */
  readonly blockOrder: number;
  /** Constant of the signature chain: 7 (kernels) or 3 (white paper). */
  readonly signatureAdd: 7 | 3;
  readonly logAreaBytes: number;
  readonly capacity: number;
  /** 16 bytes of /etc/machine-id, zeros if none. */
  readonly machineId: Uint8Array;
  /** Serial of the disk, '' if none; at most 63 Latin-1 characters are kept. */
  readonly serial: string;
  /** Milliseconds since 1970. */
  readonly formattedMs: number;
}

/** Rewritten at every change. */
export interface LabelState {
  readonly state: DeviceState;
  /** The higher good one rules. */
  readonly counter: number;
  /** U, 16 bytes; zeros in state ready. */
  readonly dumpUuid: Uint8Array;
  /** 1 = first device of the dump; 0 in state ready. */
  readonly part: number;
  /** 16 bytes; zeros unless captured over /proc/vmcore. */
  readonly bootId: Uint8Array;
  /** 32 bytes, SHA-256 of the armed image; zeros if none. */
  readonly armedDigest: Uint8Array;
  /** Milliseconds since 1970. */
  readonly writtenMs: number;
}

export interface Label {
  readonly identity: LabelIdentity;
  readonly state: LabelState;
}

/** Where the parts of a device of some size lie. All in bytes. */
export interface Geometry {
  /** The size rounded down to 64 KiB. */
  readonly countedSize: number;
  /** What signatures cover and the log may use: counted size − labels − log area. */
  readonly capacity: number;
  /** End of the log: the capacity, or 8 TiB where there is more. */
  readonly dataEnd: number;
  readonly logAreaOffset: number;
  readonly logAreaBytes: number;
  readonly labelOffset: number;
}

/** Head (256 KiB) and one record of the smallest size: below this no geometry makes sense. */
const CAPACITY_MIN = GEOMETRY.logStart + GEOMETRY.granule;

/**
 * The geometry of a device of `size` bytes.
 *
 * @param options.logAreaBytes a multiple of 64 KiB; 16 MiB by default, 0 for none.
 * @throws UsageError `DEVICE_TOO_SMALL` with `data.required` where not even the head fits.
 */
export function planGeometry(size: number, options: { readonly logAreaBytes?: number } = {}): Geometry {
  const logAreaBytes = options.logAreaBytes ?? GEOMETRY.logAreaDefault;
  if (logAreaBytes < 0 || logAreaBytes % GEOMETRY.granule !== 0)
    throw new UsageError(
      'LOG_AREA_SIZE',
      `log area of ${logAreaBytes} bytes is not a multiple of ${GEOMETRY.granule}`,
      {
        logAreaBytes,
      },
    );
  const countedSize = roundDown(size, GEOMETRY.granule);
  const required = CAPACITY_MIN + logAreaBytes + GEOMETRY.labelArea;
  if (countedSize < required)
    throw new UsageError(
      'DEVICE_TOO_SMALL',
      `the device has ${size} bytes, ${required} are needed for head, log area and labels`,
      { size, required },
      'use a larger device; a dump of all memory needs about the size of memory',
    );
  const labelOffset = countedSize - GEOMETRY.labelArea;
  const capacity = labelOffset - logAreaBytes;
  return {
    countedSize,
    capacity,
    dataEnd: Math.min(capacity, GEOMETRY.dataEnd),
    logAreaOffset: capacity,
    logAreaBytes,
    labelOffset,
  };
}

/** The geometry that a label describes. */
export function labelGeometry(identity: LabelIdentity): Geometry {
  return planGeometry(identity.deviceSize, identity);
}

/** What {@link readLabel} found. */
export interface LabelReading {
  /** Absent where no copy gives both blocks. */
  readonly label?: Label;
  /** The identity, also where no state could be read. */
  readonly identity?: LabelIdentity;
  /** What is wrong with which copy; empty on a healthy device. A third copy that is gone is no problem. */
  readonly problems: readonly string[];
  /** Good copies (both blocks) by number: 1 and 2 at the end, 3 at 8 KiB. */
  readonly copies: readonly (1 | 2 | 3)[];
}

/**
 * Reads the label, tolerant of torn copies. The higher good counter rules; copy 3 is asked only when copies 1 and 2 give
 * nothing, and only when it says ready: it is there to be found when the end of the device is not where it was.
 * Errors of the device on one copy are problems of that copy; it throws only if every copy fails so.
 *
 * @throws DeviceError; UnsupportedError for a label of a later layout version.
 */
export function readLabel(device: DumpDevice, crc: Crc32 = crc32): LabelReading {
  const counted = roundDown(device.size, GEOMETRY.granule);
  if (counted < CAPACITY_MIN + GEOMETRY.labelArea)
    return { problems: ['the device is too small for a label'], copies: [] };
  const end = counted - GEOMETRY.labelArea;
  const [one, two, three] = [
    readCopy(device, 1, end + GEOMETRY.labelCopy1, crc),
    readCopy(device, 2, end + GEOMETRY.labelCopy2, crc),
    readCopy(device, 3, GEOMETRY.labelCopy3, crc),
  ] as const;
  const all: readonly LabelCopy[] = [one, two, three];
  if (all.every((copy) => copy.failure)) throw one.failure;
  const ends: readonly LabelCopy[] = [one, two];
  const unsupported = ends.find((copy) => copy.unsupported)?.unsupported;
  const identity = one.identity ?? two.identity;
  if (!identity && unsupported) throw unsupported;
  // Identity and state may come from different copies, as after a tear in one and damage in the other.
  const ruling = rulingState(identity, ends);
  const third = ruling === undefined && isGood(three) && three.state.state === 'ready' ? three : undefined;
  const label =
    identity && ruling ? { identity, state: ruling } : third && { identity: third.identity, state: third.state };
  const known = identity ?? third?.identity;
  return {
    ...(label && { label }),
    ...(known && { identity: known }),
    problems: copyProblems(one, two, label !== undefined),
    copies: all.filter(isGood).map((copy) => copy.number),
  };
}

/**
 * Does the label belong to this very device? A sentence naming the difference, or `undefined`.
 * The last partition of a disk ends where the disk does, so a whole disk can show a partition's label.
 */
export function checkIdentity(label: { readonly identity: LabelIdentity }, device: DumpDevice): string | undefined {
  const { identity } = label;
  const { start, serial } = device.location;
  const name = formatUuid(identity.uuid);
  if (identity.start !== start)
    return `label ${name} is of a device that starts at byte ${identity.start} of its disk, ${device.name} starts at ${start}: the label lies on the wrong device`;
  if (identity.deviceSize !== device.size)
    return `label ${name} is of a device of ${identity.deviceSize} bytes, ${device.name} has ${device.size}: the device was resized, or the label lies on the wrong device`;
  if (identity.logicalBlock !== device.blockSize)
    return `label ${name} is of a device with blocks of ${identity.logicalBlock} bytes, ${device.name} has blocks of ${device.blockSize}`;
  if (identity.serial !== '' && serial !== '' && identity.serial !== cutSerial(serial))
    return `label ${name} is of the disk with serial '${identity.serial}', ${device.name} has '${serial}': a copy of another disk`;
  return undefined;
}

/** A label for a fresh format: state ready, counter as given. */
export function readyLabel(identity: LabelIdentity, counter: number, writtenMs: number): Label {
  return {
    identity,
    state: {
      state: 'ready',
      counter,
      dumpUuid: new Uint8Array(16),
      part: 0,
      bootId: new Uint8Array(16),
      armedDigest: new Uint8Array(32),
      writtenMs,
    },
  };
}

/**
 * Changes the state: copy 1, flush, copy 2, flush. It stands as soon as one copy is written and flushed; only when both
 * fail does it throw. Identity blocks are not touched.
 *
 * @returns the label as it now rules, counter one higher.
 * @throws DeviceError of the first copy when neither could be written.
 */
export function writeLabelState(
  device: DumpDevice,
  label: Label,
  change: Partial<Omit<LabelState, 'counter'>>,
  crc: Crc32 = crc32,
): Label {
  const state: LabelState = { ...label.state, ...change, counter: label.state.counter + 1 };
  const block = encodeState(label.identity.uuid, state, crc);
  const end = roundDown(device.size, GEOMETRY.granule) - GEOMETRY.labelArea;
  let failure: unknown;
  let written = 0;
  for (const copy of [GEOMETRY.labelCopy1, GEOMETRY.labelCopy2]) {
    try {
      writeBlocks(device, block, end + copy + GEOMETRY.labelState);
      device.flush();
      written++;
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      failure ??= error;
    }
  }
  if (written === 0) throw failure;
  return { identity: label.identity, state };
}

/** A whole copy, 8192 bytes: identity block, then state block. */
export function encodeLabelCopy(label: Label, crc: Crc32 = crc32): Uint8Array {
  const copy = new Uint8Array(2 * GEOMETRY.labelBlock);
  copy.set(encodeIdentity(label.identity, crc), GEOMETRY.labelIdentity);
  copy.set(encodeState(label.identity.uuid, label.state, crc), GEOMETRY.labelState);
  return copy;
}

/** The identity block, 4096 bytes. The fallback script compares it byte for byte. */
export function encodeIdentity(identity: LabelIdentity, crc: Crc32 = crc32): Uint8Array {
  const block = new Uint8Array(GEOMETRY.labelBlock);
  const out = new BlockWriter(block);
  out.text(LABEL_IDENTITY.magic, 8, IDENTITY_MAGIC);
  out.u32(LABEL_IDENTITY.version, LAYOUT_VERSION);
  out.put(LABEL_IDENTITY.uuid, sized(identity.uuid, 16, 'device UUID'));
  out.u64(LABEL_IDENTITY.start, identity.start);
  out.u64(LABEL_IDENTITY.deviceSize, identity.deviceSize);
  out.u32(LABEL_IDENTITY.logicalBlock, identity.logicalBlock);
  out.s32(LABEL_IDENTITY.sampleRate, identity.sampleRate);
  out.u32(LABEL_IDENTITY.blockOrder, identity.blockOrder);
  out.u32(LABEL_IDENTITY.signatureAdd, identity.signatureAdd);
  out.u64(LABEL_IDENTITY.logAreaBytes, identity.logAreaBytes);
  out.u64(LABEL_IDENTITY.capacity, identity.capacity);
  out.put(LABEL_IDENTITY.machineId, sized(identity.machineId, 16, 'machine id'));
  out.text(LABEL_IDENTITY.serial, SERIAL_BYTES, identity.serial);
  out.u64(LABEL_IDENTITY.formattedMs, identity.formattedMs);
  out.u32(LABEL_IDENTITY.checksum, crc(block.subarray(0, LABEL_IDENTITY.checksum)));
  return block;
}

/** The state block of the device `uuid`, 4096 bytes. */
export function encodeState(uuid: Uint8Array, state: LabelState, crc: Crc32 = crc32): Uint8Array {
  const block = new Uint8Array(GEOMETRY.labelBlock);
  const out = new BlockWriter(block);
  out.text(LABEL_STATE.magic, 8, STATE_MAGIC);
  out.u32(LABEL_STATE.version, LAYOUT_VERSION);
  out.u32(LABEL_STATE.state, STATE[state.state]);
  out.put(LABEL_STATE.uuid, sized(uuid, 16, 'device UUID'));
  out.u64(LABEL_STATE.counter, state.counter);
  out.put(LABEL_STATE.dumpUuid, sized(state.dumpUuid, 16, 'dump UUID'));
  out.u32(LABEL_STATE.part, state.part);
  out.put(LABEL_STATE.bootId, sized(state.bootId, 16, 'boot id'));
  out.put(LABEL_STATE.armedDigest, sized(state.armedDigest, 32, 'digest of the armed image'));
  out.u64(LABEL_STATE.writtenMs, state.writtenMs);
  out.u32(LABEL_STATE.checksum, crc(block.subarray(0, LABEL_STATE.checksum)));
  return block;
}

/** Layout version of label and records. */
export const LAYOUT_VERSION = 1;
const NO_IDENTITY = 'no identity';
const IDENTITY_MAGIC = 'DDIDENT';
const STATE_MAGIC = 'DDSTATE';
const SERIAL_BYTES = 64;
const STATE_NAMES = new Map(Object.entries(STATE).map(([name, value]) => [value as number, name as DeviceState]));

/**
 * The identity in a 4096-byte block, or a sentence saying why there is none.
 *
 * @throws UnsupportedError `LABEL_VERSION` when it is whole and of another layout version.
 */
export function decodeIdentity(block: Uint8Array, fileOffset: number, crc: Crc32 = crc32): LabelIdentity | string {
  const input = new Cursor(block, fileOffset);
  if (input.text(LABEL_IDENTITY.magic, 8) !== IDENTITY_MAGIC) return NO_IDENTITY;
  if (input.u32(LABEL_IDENTITY.checksum) !== crc(input.slice(0, LABEL_IDENTITY.checksum)))
    return 'checksum of the identity is wrong';
  const version = input.u32(LABEL_IDENTITY.version);
  if (version !== LAYOUT_VERSION)
    throw new UnsupportedError(
      'LABEL_VERSION',
      `label at ${hex(fileOffset)} has layout version ${version}, this diskdump knows ${LAYOUT_VERSION}`,
      { version, offset: fileOffset },
      'use the diskdump that formatted the device',
    );
  const signatureAdd = input.u32(LABEL_IDENTITY.signatureAdd);
  if (signatureAdd !== 7 && signatureAdd !== 3) return `signature constant ${signatureAdd} is neither 7 nor 3`;
  const identity: LabelIdentity = {
    uuid: input.slice(LABEL_IDENTITY.uuid, 16).slice(),
    start: input.u64(LABEL_IDENTITY.start),
    deviceSize: input.u64(LABEL_IDENTITY.deviceSize),
    logicalBlock: input.u32(LABEL_IDENTITY.logicalBlock),
    sampleRate: input.s32(LABEL_IDENTITY.sampleRate),
    blockOrder: input.u32(LABEL_IDENTITY.blockOrder),
    signatureAdd,
    logAreaBytes: input.u64(LABEL_IDENTITY.logAreaBytes),
    capacity: input.u64(LABEL_IDENTITY.capacity),
    machineId: input.slice(LABEL_IDENTITY.machineId, 16).slice(),
    serial: input.text(LABEL_IDENTITY.serial, SERIAL_BYTES),
    formattedMs: input.u64(LABEL_IDENTITY.formattedMs),
  };
  return geometryProblem(identity) ?? identity;
}

/** The state in a 4096-byte block with the device UUID it names, or a sentence saying why there is none. */
export function decodeState(
  block: Uint8Array,
  fileOffset: number,
  crc: Crc32 = crc32,
): { readonly uuid: Uint8Array; readonly state: LabelState } | string {
  const input = new Cursor(block, fileOffset);
  if (input.text(LABEL_STATE.magic, 8) !== STATE_MAGIC) return 'no state';
  if (input.u32(LABEL_STATE.checksum) !== crc(input.slice(0, LABEL_STATE.checksum)))
    return 'checksum of the state is wrong';
  if (input.u32(LABEL_STATE.version) !== LAYOUT_VERSION)
    return `state has version ${input.u32(LABEL_STATE.version)}, expected ${LAYOUT_VERSION}`;
  const name = STATE_NAMES.get(input.u32(LABEL_STATE.state));
  if (name === undefined) return `state ${input.u32(LABEL_STATE.state)} is unknown`;
  return {
    uuid: input.slice(LABEL_STATE.uuid, 16).slice(),
    state: {
      state: name,
      counter: input.u64(LABEL_STATE.counter),
      dumpUuid: input.slice(LABEL_STATE.dumpUuid, 16).slice(),
      part: input.u32(LABEL_STATE.part),
      bootId: input.slice(LABEL_STATE.bootId, 16).slice(),
      armedDigest: input.slice(LABEL_STATE.armedDigest, 32).slice(),
      writtenMs: input.u64(LABEL_STATE.writtenMs),
    },
  };
}

/**
 * Writes `bytes` (whole 4 KiB blocks) where the device's own block may be larger: what else lies in its blocks is read
 * first and written back.
 */
export function writeBlocks(device: DumpDevice, bytes: Uint8Array, offset: number): void {
  const { blockSize } = device;
  if (offset % blockSize === 0 && bytes.length % blockSize === 0) {
    writeDevice(device, bytes, offset);
    return;
  }
  const start = roundDown(offset, blockSize);
  const around = new Uint8Array(Math.ceil((offset + bytes.length - start) / blockSize) * blockSize);
  readDevice(device, around, start);
  around.set(bytes, offset - start);
  writeDevice(device, around, start);
}

/** Reads `length` bytes at any 4 KiB boundary, whatever the device's own block. */
export function readBlocks(device: DumpDevice, offset: number, length: number): Uint8Array {
  const start = roundDown(offset, device.blockSize);
  const around = new Uint8Array(Math.ceil((offset + length - start) / device.blockSize) * device.blockSize);
  readDevice(device, around, start);
  return around.subarray(offset - start, offset - start + length);
}

interface LabelCopy {
  readonly number: 1 | 2 | 3;
  readonly identity?: LabelIdentity;
  readonly state?: LabelState;
  /** The device UUID that the state block names. */
  readonly stateUuid?: Uint8Array;
  readonly problem?: string;
  readonly failure?: DumpError;
  readonly unsupported?: UnsupportedError;
}

type GoodCopy = LabelCopy & Label;

function isGood(copy: LabelCopy): copy is GoodCopy {
  return copy.identity !== undefined && copy.state !== undefined && copy.problem === undefined;
}

function readCopy(device: DumpDevice, number: 1 | 2 | 3, offset: number, crc: Crc32): LabelCopy {
  try {
    const bytes = readBlocks(device, offset, 2 * GEOMETRY.labelBlock);
    const identity = decodeIdentity(bytes.subarray(0, GEOMETRY.labelBlock), offset, crc);
    const state = decodeState(bytes.subarray(GEOMETRY.labelState), offset + GEOMETRY.labelState, crc);
    const problem = copyProblem(identity, state);
    return {
      number,
      ...(typeof identity !== 'string' && { identity }),
      ...(typeof state !== 'string' && { state: state.state, stateUuid: state.uuid }),
      ...(problem !== undefined && { problem }),
    };
  } catch (error) {
    if (error instanceof UnsupportedError) return { number, problem: error.message, unsupported: error };
    if (error instanceof DeviceError) return { number, problem: error.message, failure: error };
    if (error instanceof DumpError && !(error instanceof AssertionError)) return { number, problem: error.message };
    throw error;
  }
}

function copyProblem(identity: LabelIdentity | string, state: ReturnType<typeof decodeState>): string | undefined {
  if (typeof identity === 'string') return identity;
  if (typeof state === 'string') return state;
  return sameBytes(identity.uuid, state.uuid) ? undefined : 'identity and state name different devices';
}

function rulingState(identity: LabelIdentity | undefined, copies: readonly LabelCopy[]): LabelState | undefined {
  let ruling: LabelState | undefined;
  for (const { state, stateUuid } of copies) {
    if (!identity || !state || !stateUuid || !sameBytes(stateUuid, identity.uuid)) continue;
    if (!ruling || state.counter > ruling.counter) ruling = state;
  }
  return ruling;
}

function copyProblems(one: LabelCopy, two: LabelCopy, found: boolean): string[] {
  const absent = (copy: LabelCopy): boolean => copy.problem === NO_IDENTITY && !copy.state;
  if (!found && absent(one) && absent(two)) return [];
  const problems = [one, two]
    .filter((copy) => copy.problem !== undefined)
    .map((copy) => `label copy ${copy.number}: ${copy.problem}`);
  if (isGood(one) && isGood(two) && !sameBytes(one.identity.uuid, two.identity.uuid))
    problems.push('the two label copies name different devices');
  return problems;
}

function geometryProblem(identity: LabelIdentity): string | undefined {
  const { logicalBlock, logAreaBytes, deviceSize, capacity } = identity;
  if (logicalBlock < 512 || logicalBlock > 65536 || (logicalBlock & (logicalBlock - 1)) !== 0)
    return `logical block of ${logicalBlock} bytes is no power of two from 512 to 65536`;
  const room = roundDown(deviceSize, GEOMETRY.granule) - GEOMETRY.labelArea - logAreaBytes;
  if (logAreaBytes % GEOMETRY.granule !== 0 || room < CAPACITY_MIN || capacity !== room)
    return `capacity of ${capacity} bytes does not fit a device of ${deviceSize} with a log area of ${logAreaBytes}`;
  if (identity.sampleRate < 0 || identity.sampleRate > SAMPLE_RATE_MAX || identity.blockOrder > BLOCK_ORDER_MAX)
    return `sampling parameters ${identity.sampleRate} and ${identity.blockOrder} are out of range`;
  return undefined;
}

/** Largest `sample_rate`: 65536 blocks. */
export const SAMPLE_RATE_MAX = 16;
/** Largest `block_order`: reads of 1 MiB. */
export const BLOCK_ORDER_MAX = 8;

/** True when both hold the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function cutSerial(serial: string): string {
  const bytes = new Uint8Array(SERIAL_BYTES);
  new BlockWriter(bytes).text(0, SERIAL_BYTES, serial);
  return latin1(bytes);
}

function sized(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new AssertionError('LABEL_FIELD', `${what} has ${bytes.length} bytes, expected ${length}`);
}
