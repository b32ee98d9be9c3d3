/** The log area of a dump device: the kernel's log rings, saved by a shell script when nothing else works. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import { BlockWriter, Cursor, roundDown, roundUp } from '../../base/cursor.ts';
import { type DumpDevice, writeDevice } from '../../base/device.ts';
import { FormatError, UsageError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { type ByteSource, readExactlyInto } from '../../base/source.ts';
import { deviceSource } from './device-source.ts';
import { type LabelIdentity, labelGeometry, readBlocks } from './label.ts';
import { GEOMETRY, LOG_AREA, LOG_AREA_LIMITS, LOG_RANGE } from './log-layout.ts';

/** Physical memory that the fallback saves. */
export interface LogMemory {
  /** The symbol that it is for, at most 31 ASCII characters. */
  readonly name: string;
  readonly vaddr: bigint;
  readonly paddr: number;
  /** Bytes. */
  readonly length: number;
}

/** The same in whole pages, with its place. */
export interface LogRange extends LogMemory {
  /** From the start of the log area. */
  readonly offset: number;
}

/** What a log area's header says. */
export interface LogAreaHeader {
  /** 16 bytes: which arming prepared it. */
  readonly armId: Uint8Array;
  readonly pageSize: number;
  /** Kernel release, as utsname has it. */
  readonly release: string;
  /** Text of the VMCOREINFO note. */
  readonly vmcoreinfo: Uint8Array;
  readonly armedMs: number;
  readonly ranges: readonly LogRange[];
}

const VERSION = 1;
const MAGIC = 'DDLOGARE';
const BLOCK = GEOMETRY.recordAlignMin;

/**
 * Places memory in the log area: rounded out to whole pages, one range behind the other from 64 KiB on.
 *
 * @throws UsageError `LOG_AREA_TOO_SMALL` with `data.required` when the rings do not fit into `areaBytes`, `LOG_AREA_RANGES` when
 * there are too many or virtual and physical address lie differently in their pages.
 */
export function planLogArea(memory: readonly LogMemory[], pageSize: number, areaBytes: number): LogRange[] {
  if (memory.length > LOG_AREA_LIMITS.ranges)
    throw new UsageError('LOG_AREA_RANGES', `${memory.length} ranges of log memory, at most ${LOG_AREA_LIMITS.ranges}`);
  let offset: number = LOG_AREA_LIMITS.headerBytes;
  const ranges = memory.map(({ name, vaddr, paddr, length }) => {
    const start = roundDown(paddr, pageSize);
    if (BigInt(paddr - start) !== vaddr % BigInt(pageSize))
      throw new UsageError(
        'LOG_AREA_RANGES',
        `${name}: ${hex(vaddr)} and ${hex(paddr)} lie differently in their pages`,
      );
    const whole = roundUp(paddr + length, pageSize) - start;
    const range = { name, vaddr: vaddr - BigInt(paddr - start), paddr: start, length: whole, offset };
    offset += whole;
    return range;
  });
  if (offset > areaBytes)
    throw new UsageError(
      'LOG_AREA_TOO_SMALL',
      `the kernel's log takes ${offset} bytes, the log area has ${areaBytes}`,
      { required: roundUp(offset, GEOMETRY.granule), areaBytes },
      'format the device with a larger log area, or boot with a smaller log_buf_len',
    );
  return ranges;
}

/**
 * The header, whole 4 KiB blocks of at most 64 KiB, ready to be written as it is.
 *
 * @throws UsageError `LOG_AREA_HEADER` when vmcoreinfo and ranges do not fit.
 */
export function encodeLogAreaHeader(header: LogAreaHeader, crc: Crc32 = crc32): Uint8Array {
  const { ranges, vmcoreinfo } = header;
  const vmcoreinfoOffset = LOG_AREA.size + ranges.length * LOG_RANGE.size;
  const length = roundUp(vmcoreinfoOffset + vmcoreinfo.length, BLOCK);
  if (length > LOG_AREA_LIMITS.headerBytes)
    throw new UsageError(
      'LOG_AREA_HEADER',
      `a header with ${ranges.length} ranges and ${vmcoreinfo.length} bytes of vmcoreinfo takes ${length} bytes, at most ${LOG_AREA_LIMITS.headerBytes}`,
      { length },
    );
  const bytes = new Uint8Array(length);
  const out = new BlockWriter(bytes);
  for (let i = 0; i < MAGIC.length; i++) out.u8(LOG_AREA.magic + i, MAGIC.charCodeAt(i));
  out.u32(LOG_AREA.version, VERSION);
  out.u32(LOG_AREA.headerLength, length);
  out.put(LOG_AREA.armId, header.armId.subarray(0, 16));
  out.u32(LOG_AREA.pageSize, header.pageSize);
  out.u32(LOG_AREA.rangeCount, ranges.length);
  out.u32(LOG_AREA.vmcoreinfoOffset, vmcoreinfoOffset);
  out.u32(LOG_AREA.vmcoreinfoLength, vmcoreinfo.length);
  out.u64(LOG_AREA.armedMs, header.armedMs);
  out.text(LOG_AREA.release, 64, header.release);
  out.u64(LOG_AREA.areaBytes, endOf(ranges));
  ranges.forEach((range, i) => {
    const at = LOG_AREA.size + i * LOG_RANGE.size;
    out.text(at + LOG_RANGE.name, 32, range.name);
    out.big(at + LOG_RANGE.vaddr, range.vaddr);
    out.u64(at + LOG_RANGE.paddr, range.paddr);
    out.u64(at + LOG_RANGE.length, range.length);
    out.u64(at + LOG_RANGE.offset, range.offset);
  });
  out.put(vmcoreinfoOffset, vmcoreinfo);
  out.u32(LOG_AREA.checksum, crc(bytes));
  return bytes;
}

function endOf(ranges: readonly LogRange[]): number {
  return ranges.reduce<number>((end, range) => Math.max(end, range.offset + range.length), LOG_AREA_LIMITS.headerBytes);
}

/** True where a log area's header begins, whole or damaged: nobody overwrites it before it was looked at. */
function holdsLogAreaHeader(bytes: Uint8Array): boolean {
  for (let i = 0; i < MAGIC.length; i++) if (bytes[i] !== MAGIC.charCodeAt(i)) return false;
  return true;
}

/**
 * The header in the first 64 KiB of a log area of `areaBytes`; `undefined` where there is none.
 *
 * @throws FormatError `LOG_AREA` where there is one and it is damaged.
 */
export function decodeLogAreaHeader(
  bytes: Uint8Array,
  areaBytes: number,
  fileOffset = 0,
  crc: Crc32 = crc32,
): LogAreaHeader | undefined {
  if (!holdsLogAreaHeader(bytes)) return undefined;
  const damaged = (what: string): FormatError =>
    new FormatError('LOG_AREA', `log area at ${hex(fileOffset)}: ${what}`, { offset: fileOffset });
  const head = new Cursor(bytes, fileOffset);
  const length = head.u32(LOG_AREA.headerLength);
  if (length < BLOCK || length % BLOCK !== 0 || length > Math.min(bytes.length, LOG_AREA_LIMITS.headerBytes))
    throw damaged(`a header of ${length} bytes`);
  const whole = bytes.slice(0, length);
  whole.fill(0, LOG_AREA.checksum, LOG_AREA.checksum + 4);
  if (crc(whole) !== head.u32(LOG_AREA.checksum)) throw damaged('the checksum of its header is wrong');
  if (head.u32(LOG_AREA.version) !== VERSION) throw damaged(`version ${head.u32(LOG_AREA.version)} is unknown`);
  const count = head.u32(LOG_AREA.rangeCount);
  const [textAt, textLength] = [head.u32(LOG_AREA.vmcoreinfoOffset), head.u32(LOG_AREA.vmcoreinfoLength)];
  if (
    count > LOG_AREA_LIMITS.ranges ||
    textAt !== LOG_AREA.size + count * LOG_RANGE.size ||
    textAt + textLength > length
  )
    throw damaged(`${count} ranges and ${textLength} bytes of vmcoreinfo in a header of ${length}`);
  const ranges = Array.from({ length: count }, (_, i) => decodeRange(head, LOG_AREA.size + i * LOG_RANGE.size));
  const bad = ranges.find((range) => !rangeFits(range, areaBytes));
  if (bad) throw damaged(`range '${bad.name}' of ${bad.length} bytes at ${bad.offset} does not fit ${areaBytes} bytes`);
  return {
    armId: head.slice(LOG_AREA.armId, 16).slice(),
    pageSize: head.u32(LOG_AREA.pageSize),
    release: head.text(LOG_AREA.release, 64),
    vmcoreinfo: head.slice(textAt, textLength).slice(),
    armedMs: head.u64(LOG_AREA.armedMs),
    ranges,
  };
}

function decodeRange(head: Cursor, at: number): LogRange {
  return {
    name: head.text(at + LOG_RANGE.name, 32),
    vaddr: head.big(at + LOG_RANGE.vaddr),
    paddr: head.u64(at + LOG_RANGE.paddr),
    length: head.u64(at + LOG_RANGE.length),
    offset: head.u64(at + LOG_RANGE.offset),
  };
}

function rangeFits({ offset, length, vaddr }: LogRange, areaBytes: number): boolean {
  const inArea = offset >= LOG_AREA_LIMITS.headerBytes && offset % BLOCK === 0 && offset + length <= areaBytes;
  return inArea && length > 0 && vaddr + BigInt(length) <= 2n ** 64n;
}

/** A log that the fallback saved, opened as readable memory. */
export interface SavedLogArea {
  readonly header: LogAreaHeader;
  /** Fills `target` from a virtual address of the dead kernel; false where one range does not hold all of it. */
  readVirtual(vaddr: bigint, target: Uint8Array): boolean;
  /** The same by physical address. */
  readPhysical(paddr: number, target: Uint8Array): boolean;
}

/**
 * The unsaved log in a device's log area, or `undefined` where there is none.
 *
 * @throws FormatError `LOG_AREA` for a header that is damaged; DeviceError.
 */
export function readLogArea(device: DumpDevice, identity: LabelIdentity, crc: Crc32 = crc32): SavedLogArea | undefined {
  const { logAreaBytes, logAreaOffset } = labelGeometry(identity);
  if (logAreaBytes === 0) return undefined;
  const bytes = readBlocks(device, logAreaOffset, LOG_AREA_LIMITS.headerBytes);
  const header = decodeLogAreaHeader(bytes, logAreaBytes, logAreaOffset, crc);
  return header && openSavedLog(deviceSource(device), header, logAreaOffset);
}

/** The ranges of a log area that begins at `areaOffset` of `source`. */
export function openSavedLog(source: ByteSource, header: LogAreaHeader, areaOffset: number): SavedLogArea {
  const read = (range: LogRange | undefined, skip: number, target: Uint8Array): boolean => {
    if (!range || skip + target.length > range.length) return false;
    readExactlyInto(source, target, areaOffset + range.offset + skip, `log range '${range.name}'`);
    return true;
  };
  return {
    header,
    readVirtual(vaddr, target) {
      const range = header.ranges.find((r) => vaddr >= r.vaddr && vaddr < r.vaddr + BigInt(r.length));
      return read(range, range ? Number(vaddr - range.vaddr) : 0, target);
    },
    readPhysical(paddr, target) {
      const range = header.ranges.find((r) => paddr >= r.paddr && paddr < r.paddr + r.length);
      return read(range, range ? paddr - range.paddr : 0, target);
    },
  };
}

/** Erases the header, so that the area is free; flushed. To be called when the log it held is safe. */
export function clearLogArea(device: DumpDevice, identity: LabelIdentity): void {
  const { logAreaBytes, logAreaOffset } = labelGeometry(identity);
  if (logAreaBytes === 0) return;
  writeDevice(device, new Uint8Array(LOG_AREA_LIMITS.headerBytes), logAreaOffset);
  device.flush();
}
