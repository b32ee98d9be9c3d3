/** A dump device, or its image, opened as a {@link Vmcore}: the newest generation and the good records behind it. */

import { type Crc32, crc32 } from '../../base/crc32.ts';
import type { DumpDevice } from '../../base/device.ts';
import { FormatError, NoDataError, UnsupportedError } from '../../base/errors.ts';
import { formatUuid } from '../../base/hex.ts';
import type { ByteSource } from '../../base/source.ts';
import type { CodecTable } from '../../codec/codec.ts';
import type { PassState, Vmcore } from '../vmcore.ts';
import { DeviceVmcore } from './device-pages.ts';
import { deviceSource, imageDevice } from './device-source.ts';
import { type Label, readBlocks, readLabel } from './label.ts';
import { GEOMETRY, LABEL_IDENTITY } from './log-layout.ts';
import { describeEnd, holdsDump, type LogState, recoverLog } from './log-reader.ts';
import type { StartRecord } from './log-start.ts';
import { decodeRunRecord, type RunRecord } from './run-record.ts';
import { describeContents } from './signature.ts';

/** What pages are restored and proved with. */
export interface DeviceDumpOptions {
  readonly codecs: CodecTable;
  /** Default: the portable one. */
  readonly crc?: Crc32;
  /** Prove bitmaps and descriptors of the newest generation at once; reads all of them. Pages are proved when read. */
  readonly verify?: boolean;
  /** Records behind the newest generation that are walked one by one before index records alone are looked at. */
  readonly jumpAfter?: number;
  /** Called now and then while the log is walked. */
  readonly served?: () => void;
}

/** Chunk heads of some 4 GiB of raw pages: a second on a disk that seeks in 0.2 ms. */
const JUMP_AFTER = 4096;

/** A dump on a device. */
export interface DeviceDump extends Vmcore {
  readonly label: Label;
  /** U, 16 bytes. */
  readonly dumpUuid: Uint8Array;
  /** 1 = the first device of the dump. */
  readonly part: number;
  /** Absent where the start record is damaged: then there are no notes either. */
  readonly start: StartRecord | undefined;
  /** What stage 1 did, from the newest generation. */
  readonly runRecord: RunRecord | undefined;
  /** What recovery found, with every stretch of damage. */
  readonly log: LogState;
}

/**
 * Opens the dump on a device.
 *
 * Complete needs both: the label says so, and the newest generation is marked last. A last generation without the label
 * is a partial dump with nothing missing. Reads label, headers and one generation's lists, and the heads of the
 * records behind it; memory does not grow with the machine's.
 *
 * @throws NoDataError `DEVICE_UNFORMATTED`, `DEVICE_EMPTY`, `DEVICE_SAVED` or `DEVICE_NO_DUMP` where there is no dump.
 */
export function openDeviceDump(place: DumpDevice | ByteSource, options: DeviceDumpOptions): DeviceDump {
  const device = 'readInto' in place ? imageDevice(place) : place;
  const source = 'readInto' in place ? place : deviceSource(place);
  const crc = options.crc ?? crc32;
  const label = requireDumpLabel(device, crc);
  const log = recoverLog(source, label, {
    crc,
    codecs: options.codecs,
    verify: options.verify === true,
    jumpAfter: options.jumpAfter ?? JUMP_AFTER,
    ...(options.served && { served: options.served }),
  });
  if (!holdsDump(log)) throw noDump(device.name, label, log);
  return openRecovered(source, label, log, { codecs: options.codecs, crc });
}

/** The dump of a log that {@link recoverLog} has found already. */
export function openRecovered(
  source: ByteSource,
  label: Label,
  log: LogState,
  options: { readonly codecs: CodecTable; readonly crc: Crc32 },
): DeviceDump {
  const runRecord = readRunRecord(log);
  const partialReason = findPartialReason(label, log, runRecord);
  return new DeviceVmcore({
    source,
    label,
    log,
    runRecord,
    partialReason,
    passes: passStates(log),
    ...options,
  });
}

/** For the table of probes: does a label stand where a dump device has one? Reads three blocks. */
export function looksLikeDumpDevice(source: ByteSource): boolean {
  const device = imageDevice(source);
  const counted = Math.floor(device.size / GEOMETRY.granule) * GEOMETRY.granule;
  const end = counted - GEOMETRY.labelArea;
  const places = [end + GEOMETRY.labelCopy1, end + GEOMETRY.labelCopy2, GEOMETRY.labelCopy3];
  return places.some((offset) => {
    if (offset < GEOMETRY.labelCopy3 || offset + GEOMETRY.labelBlock > device.size) return false;
    const magic = readBlocks(device, offset + LABEL_IDENTITY.magic, GEOMETRY.labelBlock).subarray(0, 8);
    return String.fromCharCode(...magic) === 'DDIDENT\0';
  });
}

function requireDumpLabel(device: DumpDevice, crc: Crc32): Label {
  const reading = readLabel(device, crc);
  const { label } = reading;
  const hint = 'the label says what the device holds: `diskdump check` shows it';
  if (!label) {
    const found = reading.problems[0] ?? describeContents(readBlocks(device, 0, GEOMETRY.labelBlock));
    throw new NoDataError('DEVICE_UNFORMATTED', `${device.name} carries no label of a dump device: ${found}`, {}, hint);
  }
  const name = formatUuid(label.identity.uuid);
  if (label.identity.deviceSize !== device.size)
    throw new FormatError(
      'DEVICE_SIZE',
      `label ${name} is of a device of ${label.identity.deviceSize} bytes, ${device.name} has ${device.size}`,
      { deviceSize: label.identity.deviceSize, size: device.size },
      'the device was resized, the image was cut, or the label lies on the wrong device',
    );
  if (label.state.state === 'ready')
    throw new NoDataError('DEVICE_EMPTY', `${device.name} is formatted and holds no dump`, { uuid: name });
  if (label.state.state === 'saved')
    throw new NoDataError(
      'DEVICE_SAVED',
      `the dump ${formatUuid(label.state.dumpUuid)} on ${device.name} has been saved`,
      { uuid: name },
      '`diskdump list` shows where; `diskdump save` formats the device again',
    );
  return label;
}

function noDump(name: string, label: Label, log: LogState): NoDataError {
  const why = log.startProblem ?? describeEnd(log);
  return new NoDataError(
    'DEVICE_NO_DUMP',
    `${name} is in state ${label.state.state} and holds no good record: ${why}`,
    {
      state: label.state.state,
    },
  );
}

function readRunRecord({ generation }: LogState): RunRecord | undefined {
  if (!generation || generation.record.runRecord.length === 0) return undefined;
  try {
    return decodeRunRecord(generation.record.runRecord);
  } catch (error) {
    if (error instanceof FormatError || error instanceof UnsupportedError) return undefined;
    throw error;
  }
}

function findPartialReason(label: Label, log: LogState, run: RunRecord | undefined): string | undefined {
  const { generation } = log;
  const saysComplete = label.state.state === 'complete';
  if (saysComplete && generation?.header.last && log.damage.length === 0 && log.start) return undefined;
  if (!log.start) return `its start record is gone: ${log.startProblem ?? 'not found'}`;
  if (generation?.header.last && !saysComplete)
    return 'every planned page is there, but stage 1 was cut before the label said so';
  if (log.damage.length > 0 && generation?.header.last)
    return `${log.damage.length} stretches of the log are damaged, the first: ${log.damage[0]?.what}`;
  if (run?.reason !== undefined && log.chunksBehind === 0) return run.reason;
  if (saysComplete) return `the label says complete, its last generation cannot be found: ${describeEnd(log)}`;
  return `stage 1 did not finish: ${describeEnd(log)}`;
}

function passStates(log: LogState): PassState[] {
  const table = log.generation?.record.passes ?? log.start?.record.passes ?? [];
  return table.map((row, i) => {
    const stored = log.passes[i]?.stored ?? row.stored;
    return { name: row.name, planned: row.planned, stored, complete: stored >= row.planned };
  });
}
