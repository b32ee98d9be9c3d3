/** The label of a dump device: whose it is (identity) and what it holds (state), in three copies. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { roundDown } from '../../base/cursor.ts';
import { type DumpDevice, readDevice, writeDevice } from '../../base/device.ts';
import {
  AssertionError,
  DeviceError,
  DumpError,
  RefusedError,
  UnsupportedError,
  UsageError,
} from '../../base/errors.ts';
import { formatUuid } from '../../base/hex.ts';
import { cutSerial, decodeIdentity, decodeState, encodeState, NO_IDENTITY } from './label-blocks.ts';
import { GEOMETRY, type STATE } from './log-layout.ts';

export { BLOCK_ORDER_MAX, encodeIdentity, encodeLabelCopy, SAMPLE_RATE_MAX } from './label-blocks.ts';

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
 * @throws RefusedError `DEVICE_TOO_SMALL` with `data.required` where not even the head fits.
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
    throw new RefusedError(
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

/** True when both hold the same bytes. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
