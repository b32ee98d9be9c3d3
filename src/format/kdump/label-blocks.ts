/** The two blocks of a label copy, identity and state, to and from bytes. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, latin1, roundDown } from '../../base/cursor.ts';
import { AssertionError, UnsupportedError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import type { DeviceState, Label, LabelIdentity, LabelState } from './label.ts';
import { GEOMETRY, LABEL_IDENTITY, LABEL_STATE, STATE } from './log-layout.ts';

/** Layout version of label and records. */
const LAYOUT_VERSION = 1;
/** What {@link decodeIdentity} says of a block that was never one. */
export const NO_IDENTITY = 'no identity';
const IDENTITY_MAGIC = 'DDIDENT';
const STATE_MAGIC = 'DDSTATE';
const SERIAL_BYTES = 64;
const STATE_NAMES = new Map(Object.entries(STATE).map(([name, value]) => [value as number, name as DeviceState]));

/** Largest `sample_rate`: 65536 blocks. */
export const SAMPLE_RATE_MAX = 16;
/** Largest `block_order`: reads of 1 MiB. */
export const BLOCK_ORDER_MAX = 8;

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

function geometryProblem(identity: LabelIdentity): string | undefined {
  const { logicalBlock, logAreaBytes, deviceSize, capacity } = identity;
  if (logicalBlock < 512 || logicalBlock > 65536 || (logicalBlock & (logicalBlock - 1)) !== 0)
    return `logical block of ${logicalBlock} bytes is no power of two from 512 to 65536`;
  const room = roundDown(deviceSize, GEOMETRY.granule) - GEOMETRY.labelArea - logAreaBytes;
  if (logAreaBytes % GEOMETRY.granule !== 0 || room < GEOMETRY.logStart + GEOMETRY.granule || capacity !== room)
    return `capacity of ${capacity} bytes does not fit a device of ${deviceSize} with a log area of ${logAreaBytes}`;
  if (identity.sampleRate < 0 || identity.sampleRate > SAMPLE_RATE_MAX || identity.blockOrder > BLOCK_ORDER_MAX)
    return `sampling parameters ${identity.sampleRate} and ${identity.blockOrder} are out of range`;
  return undefined;
}

/** The serial as an identity keeps it. */
export function cutSerial(serial: string): string {
  const bytes = new Uint8Array(SERIAL_BYTES);
  new BlockWriter(bytes).text(0, SERIAL_BYTES, serial);
  return latin1(bytes);
}

function sized(bytes: Uint8Array, length: number, what: string): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new AssertionError('LABEL_FIELD', `${what} has ${bytes.length} bytes, expected ${length}`);
}
