/** Formatting a dump device: signatures first, the label last, so that no label ever vouches for blocks that were not signed. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { roundDown } from '../../base/cursor.ts';
import { type DumpDevice, writeDevice } from '../../base/device.ts';
import { RefusedError, UsageError } from '../../base/errors.ts';
import {
  BLOCK_ORDER_MAX,
  checkIdentity,
  encodeLabelCopy,
  type Geometry,
  type Label,
  type LabelIdentity,
  labelGeometry,
  planGeometry,
  readyLabel,
  SAMPLE_RATE_MAX,
  sameBytes,
  writeBlocks,
  writeLabelState,
} from './label.ts';
import { GEOMETRY } from './log-layout.ts';
import { listGenerations, recoverLog, scopeOfLabel } from './log-reader.ts';
import { countSignatureBlocks, fillSignature, planSignatureBlocks, signatureNumber } from './signature.ts';

/** White paper's defaults. */
export const SAMPLE_RATE_DEFAULT = 8;
export const BLOCK_ORDER_DEFAULT = 2;

/** What the operator chooses, and what only the host knows. */
export interface FormatOptions {
  /** 16 random bytes: the label's UUID. */
  readonly uuid: Uint8Array;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** 2^n blocks are signed and checked; 0 = all of them, which needs `full`. */
  readonly sampleRate?: number;
  /** A full check reads 2^n blocks at a time. */
  readonly blockOrder?: number;
  readonly signatureAdd?: 7 | 3;
  readonly logAreaBytes?: number;
  /** Sign every block, whatever the sample rate. */
  readonly full?: boolean;
  /** 16 bytes of /etc/machine-id; zeros if none. */
  readonly machineId?: Uint8Array;
  /** The least size that is accepted: {@link requiredBytes} of `device-size.ts`. */
  readonly requiredBytes?: number;
}

/** What formatting is going to do. */
export interface FormatPlan {
  readonly geometry: Geometry;
  readonly identity: LabelIdentity;
  /** Signature blocks to write. */
  readonly blocks: number;
  readonly full: boolean;
}

/**
 * Plans the format of a device; reads and writes nothing.
 *
 * @throws RefusedError `DEVICE_TOO_SMALL` with `data.required`; UsageError `SAMPLE_RATE`, `BLOCK_ORDER`, `LOG_AREA_SIZE` for
 *   parameters out of range.
 */
export function planFormat(device: DumpDevice, options: FormatOptions): FormatPlan {
  const { sampleRate = SAMPLE_RATE_DEFAULT, blockOrder = BLOCK_ORDER_DEFAULT, full = false } = options;
  checkParameter('SAMPLE_RATE', 'sample_rate', sampleRate, SAMPLE_RATE_MAX);
  checkParameter('BLOCK_ORDER', 'block_order', blockOrder, BLOCK_ORDER_MAX);
  if (sampleRate === 0 && !full)
    throw new UsageError(
      'SAMPLE_RATE',
      'sample_rate 0 checks every block, so every block has to be written',
      {},
      'add --full',
    );
  const required = options.requiredBytes ?? 0;
  if (roundDown(device.size, GEOMETRY.granule) < required)
    throw new RefusedError(
      'DEVICE_TOO_SMALL',
      `${device.name} has ${device.size} bytes, ${required} are needed for head, log area, labels and the first pass`,
      { size: device.size, required },
      'use a larger device: a dump of all memory needs about the size of memory; a smaller log area leaves more for the dump',
    );
  const geometry = planGeometry(device.size, options);
  const identity: LabelIdentity = {
    uuid: options.uuid,
    start: device.location.start,
    deviceSize: device.size,
    logicalBlock: device.blockSize,
    sampleRate,
    blockOrder,
    signatureAdd: options.signatureAdd ?? 7,
    logAreaBytes: geometry.logAreaBytes,
    capacity: geometry.capacity,
    machineId: options.machineId ?? new Uint8Array(16),
    serial: device.location.serial,
    formattedMs: options.nowMs,
  };
  return { geometry, identity, full, blocks: countSignatureBlocks(geometry.capacity, full ? 0 : sampleRate) };
}

function checkParameter(code: string, name: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  throw new UsageError(code, `${name} is ${value}, expected a whole number from 0 to ${max}`, { value, max });
}

/** What {@link formatDevice} reports while it runs. */
export interface FormatProgress {
  readonly crc?: Crc32;
  /** Called with signature blocks written so far. */
  readonly progress?: (blocks: number) => void;
}

/**
 * Formats the device as planned. What was on it is gone.
 *
 * Order: labels and log area's header erased, flush; signatures, flush; third label, flush; copy 1, flush; copy 2, flush. Cut
 * anywhere before copy 1 or the third label, the device carries no label; after that its signatures are there.
 *
 * @throws DeviceError.
 */
export function formatDevice(device: DumpDevice, plan: FormatPlan, options: FormatProgress = {}): Label {
  const { geometry, identity } = plan;
  const crc = options.crc ?? crc32;
  const none = new Uint8Array(2 * GEOMETRY.labelBlock);
  for (const copy of [GEOMETRY.labelCopy1, GEOMETRY.labelCopy2]) writeBlocks(device, none, geometry.labelOffset + copy);
  writeBlocks(device, none, GEOMETRY.labelCopy3);
  if (geometry.logAreaBytes > 0) writeBlocks(device, new Uint8Array(LOG_AREA_HEAD), geometry.logAreaOffset);
  device.flush();
  const { progress } = options;
  if (plan.full) signAll(device, identity, progress);
  else signSample(device, identity, progress);
  device.flush();
  const label = readyLabel(identity, 1, identity.formattedMs);
  const copy = encodeLabelCopy(label, crc);
  for (const offset of [
    GEOMETRY.labelCopy3,
    geometry.labelOffset + GEOMETRY.labelCopy1,
    geometry.labelOffset + GEOMETRY.labelCopy2,
  ]) {
    writeBlocks(device, copy, offset);
    device.flush();
  }
  return label;
}

/** Bytes erased at the start of the log area: its header. */
const LOG_AREA_HEAD = 65536;
/** Bytes of one write when every block is signed. */
const FULL_WRITE = 2 ** 20;

function signSample(device: DumpDevice, identity: LabelIdentity, progress?: (blocks: number) => void): void {
  const block = new Uint8Array(GEOMETRY.signatureBlock);
  let done = 0;
  for (const n of planSignatureBlocks(identity.uuid, identity.capacity, identity.sampleRate)) {
    const offset = n * GEOMETRY.signatureBlock;
    fillSignature(block, signatureNumber(offset), identity.signatureAdd);
    writeBlocks(device, block, offset);
    progress?.(++done);
  }
}

/** Every block of the capacity; where the third label comes later there are zeros. */
function signAll(device: DumpDevice, identity: LabelIdentity, progress?: (blocks: number) => void): void {
  const { capacity, signatureAdd } = identity;
  const buffer = new Uint8Array(FULL_WRITE);
  for (let offset = 0; offset < capacity; offset += FULL_WRITE) {
    const part = buffer.subarray(0, Math.min(FULL_WRITE, capacity - offset));
    for (let at = 0; at < part.length; at += GEOMETRY.signatureBlock) {
      const block = part.subarray(at, at + GEOMETRY.signatureBlock);
      const place = offset + at;
      if (place >= GEOMETRY.labelCopy3 && place < GEOMETRY.labelCopy3 + 2 * GEOMETRY.labelBlock) block.fill(0);
      else fillSignature(block, signatureNumber(place), signatureAdd);
    }
    writeDevice(device, part, offset);
    progress?.((offset + part.length) / GEOMETRY.signatureBlock);
  }
}

/** What is done to the old data when a device is formatted again after its dump was saved. */
export type WipeMode = 'discard' | 'zero' | 'none';

export interface ReformatOptions {
  readonly wipe: WipeMode;
  /** Tells the medium that a range is no longer needed; where absent, `discard` does nothing. Its failure is ignored. */
  readonly discard?: (offset: number, length: number) => void;
  readonly crc?: Crc32;
  /** Milliseconds since 1970. */
  readonly nowMs: number;
  /** Called now and then. */
  readonly served?: () => void;
}

/**
 * Makes a device ready again, under the same label UUID, when its dump is saved or it holds none.
 *
 * Order: head and heads of the generations erased, flush, so that no tool opens the old dump; wipe; signatures, flush; third
 * label, flush; state ready. The state stays what it was until the last step, so a cut is made good by calling again.
 *
 * @returns the label as it now rules. @throws UsageError `DEVICE_NOT_SAVED` in any other state, `LABEL_MISPLACED` where the
 * label is not this device's; DeviceError.
 */
export function reformatDevice(device: DumpDevice, label: Label, options: ReformatOptions): Label {
  const crc = options.crc ?? crc32;
  const { identity, state } = label;
  if (state.state !== 'saved' && state.state !== 'inUse')
    throw new UsageError(
      'DEVICE_NOT_SAVED',
      `${device.name} is in state ${state.state}, only a saved one is formatted again`,
      {
        state: state.state,
      },
    );
  const misplaced = checkIdentity(label, device);
  if (misplaced !== undefined) throw new UsageError('LABEL_MISPLACED', misplaced, { device: device.name });
  eraseDump(device, label, crc, options.served);
  wipeLog(device, labelGeometry(identity), options);
  if (identity.sampleRate === 0) signAll(device, identity, options.served);
  else signSample(device, identity, options.served);
  device.flush();
  const ready = readyLabel(identity, state.counter + 1, options.nowMs);
  writeBlocks(device, encodeLabelCopy(ready, crc), GEOMETRY.labelCopy3);
  device.flush();
  return writeLabelState(device, label, ready.state, crc);
}

/** Block 0 first: once it is gone no other tool finds the rest. */
function eraseDump(device: DumpDevice, label: Label, crc: Crc32, served?: () => void): void {
  const generations = sameBytes(label.state.dumpUuid, new Uint8Array(16))
    ? []
    : findGenerations(device, label, crc, served);
  writeDevice(device, new Uint8Array(GEOMETRY.logStart), 0);
  device.flush();
  const none = new Uint8Array(Math.max(GEOMETRY.recordAlignMin, device.blockSize));
  for (const offset of generations) writeDevice(device, none, offset);
  // Without its start record the old dump is not taken for one that nobody saved.
  writeDevice(device, none, GEOMETRY.logStart);
  device.flush();
}

function findGenerations(device: DumpDevice, label: Label, crc: Crc32, served?: () => void): number[] {
  const state = recoverLog(device, label, { crc, ...(served && { served }) });
  return listGenerations(device, state, { ...scopeOfLabel(label), crc });
}

/** Bytes of one write of zeros, and the largest range of one discard. */
const ZERO_WRITE = 2 ** 20;
const DISCARD_RANGE = 2 ** 30;

function wipeLog(device: DumpDevice, { dataEnd }: Geometry, options: ReformatOptions): void {
  const { wipe, discard, served } = options;
  if (wipe === 'none') return;
  if (wipe === 'discard') {
    for (let at: number = GEOMETRY.logStart; discard && at < dataEnd; at += DISCARD_RANGE)
      discard(at, Math.min(DISCARD_RANGE, dataEnd - at));
    return;
  }
  const zeros = new Uint8Array(ZERO_WRITE);
  for (let at: number = GEOMETRY.logStart; at < dataEnd; at += ZERO_WRITE) {
    writeDevice(device, zeros.subarray(0, Math.min(ZERO_WRITE, dataEnd - at)), at);
    served?.();
  }
}
