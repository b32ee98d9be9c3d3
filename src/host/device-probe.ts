/** What lies on a device, and who uses it: what `format` must know before it writes. */

import { Cursor, roundDown } from '../base/cursor.ts';
import { type DumpDevice, readDevice } from '../base/device.ts';
import { formatUuid } from '../base/hex.ts';
import {
  type BlockDeviceInfo,
  findMounts,
  isSwap,
  listBlockDevices,
  SYSTEM_ROOTS,
  type SystemRoots,
} from './block-devices.ts';
import { type DeviceEnds, SIGNS, type SignKind } from './device-signs.ts';

/** Something on a device. */
export interface Finding {
  /** `ext4`, `gpt`, `swap`: short names, as `blkid` has them where it knows them. */
  readonly type: string;
  readonly kind: SignKind;
  /** In words: `ext4 file system 'root'`. */
  readonly name: string;
  /** Where its magic number lies, and how long that is; bytes. */
  readonly offset: number;
  readonly length: number;
}

/** Our own label, as far as the probe reads it. */
export interface FoundLabel {
  readonly uuid: string;
  /** Value of the label's state field; 0 where no state could be read. */
  readonly state: number;
}

/** What a probe found. */
export interface DeviceContents {
  readonly findings: readonly Finding[];
  readonly label?: FoundLabel;
  /** Where nothing shows itself and there is something all the same: where it begins, and how. */
  readonly unknown?: { readonly offset: number; readonly bytes: Uint8Array };
}

/** Bytes read at the start and at the end: every sign of the table lies there. */
const HEAD_BYTES = 2 * 2 ** 20;
const TAIL_BYTES = 2 ** 20;

/** Reads head and tail of a device and names what shows itself there. Three transfers. @throws DeviceError */
export function probeDevice(device: DumpDevice): DeviceContents {
  const ends = readEnds(device);
  const findings: Finding[] = [];
  for (const sign of SIGNS) {
    const places = typeof sign.at === 'function' ? sign.at(device.size) : sign.at;
    for (const place of places) {
      const offset = place < 0 ? device.size + place : place;
      const found = ends.bytes(offset, sign.magic.length);
      if (!found || !sign.magic.every((byte, i) => found[i] === byte)) continue;
      const name = sign.name(ends, offset);
      if (name === undefined) continue;
      const { type, kind } = sign;
      findings.push({ type: typeOf(type, name), kind, name, offset, length: sign.magic.length });
      break;
    }
  }
  const label = findLabel(ends);
  // A dump device's own block 0 and signatures are told by its label.
  if (label) return { findings: findings.filter(({ kind }) => kind !== 'dump'), label };
  const unknown = findings.length === 0 ? ends.firstData() : undefined;
  return { findings, ...(unknown && { unknown }) };
}

/** Ext tells its generation in its name. */
function typeOf(type: string, name: string): string {
  return type === 'ext' ? (/^ext\d/.exec(name)?.[0] ?? 'jbd') : type;
}

/** Bytes of unknown data that are shown. */
const SHOWN_BYTES = 8;

/** The ends, and where the first byte lies that is not zero. */
interface ProbedEnds extends DeviceEnds {
  firstData(): { offset: number; bytes: Uint8Array } | undefined;
}

function readEnds(device: DumpDevice): ProbedEnds {
  const { size, blockSize } = device;
  const head = new Uint8Array(Math.min(HEAD_BYTES, size));
  const tailStart = Math.max(head.length, roundDown(Math.max(0, size - TAIL_BYTES), blockSize));
  const tail = new Uint8Array(size - tailStart);
  if (head.length > 0) readDevice(device, head, 0);
  if (tail.length > 0) readDevice(device, tail, tailStart);
  return {
    size,
    bytes(offset, length) {
      if (offset >= 0 && offset + length <= head.length) return head.subarray(offset, offset + length);
      const at = offset - tailStart;
      return at >= 0 && at + length <= tail.length ? tail.subarray(at, at + length) : undefined;
    },
    firstData() {
      for (const [part, start] of [
        [head, 0],
        [tail, tailStart],
      ] as const) {
        const at = part.findIndex((byte) => byte !== 0);
        if (at >= 0) return { offset: start + at, bytes: part.slice(at, at + SHOWN_BYTES) };
      }
      return undefined;
    },
  };
}

/** Where label copies and their parts lie. Source: `format/kdump/log-layout.ts`, GEOMETRY and LABEL_STATE. */
const LABEL = { granule: 65536, copies: [0, 32768], stateBlock: 4096, state: 12, uuid: 16 } as const;

function findLabel(ends: DeviceEnds): FoundLabel | undefined {
  const area = roundDown(ends.size, LABEL.granule) - LABEL.granule;
  for (const copy of LABEL.copies) {
    const identity = ends.bytes(area + copy, 512);
    if (!identity || new Cursor(identity).text(0, 8) !== 'DDIDENT') continue;
    const state = ends.bytes(area + copy + LABEL.stateBlock, 512);
    const known = state !== undefined && new Cursor(state).text(0, 8) === 'DDSTATE';
    return {
      uuid: formatUuid(identity.subarray(LABEL.uuid, LABEL.uuid + 16)),
      state: known ? new Cursor(state).u32(LABEL.state) : 0,
    };
  }
  return undefined;
}

/**
 * Who uses a block device now, one sentence each; empty when nobody does. A whole disk is used by whoever uses one of its
 * partitions.
 */
export function findUsers(device: BlockDeviceInfo, roots: SystemRoots = SYSTEM_ROOTS): string[] {
  const parts = listBlockDevices(roots).filter(({ name }) => device.partitions.includes(name));
  return [device, ...parts].flatMap((part) => [
    ...findMounts(part, roots).map((mount) => `${part.path} is mounted on ${mount}`),
    ...(isSwap(part, roots) ? [`${part.path} is in use as swap`] : []),
    ...part.holders.map((holder) => `${part.path} is held by ${holder}`),
  ]);
}

/** Zeroes the magic numbers of what was found, so that nobody takes the device for what it was. @throws DeviceError */
export function wipeFindings(device: DumpDevice, findings: readonly Finding[]): void {
  const { blockSize } = device;
  for (const { offset, length } of findings) {
    const start = roundDown(offset, blockSize);
    const block = new Uint8Array(roundDown(offset + length - start + blockSize - 1, blockSize));
    readDevice(device, block, start);
    block.fill(0, offset - start, offset - start + length);
    device.write(block, start);
  }
  device.flush();
}
