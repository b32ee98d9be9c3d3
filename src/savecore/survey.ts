/** What each registered device holds, and what stage 2 has to do about it: the `save` column of the state table. */

import { type Crc32, crc32 } from '../base/crc32.ts';
import type { DumpDevice } from '../base/device.ts';
import { DeviceError, DumpError, isBadSector, NoDataError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import type { CodecTable } from '../codec/codec.ts';
import { deviceSource } from '../format/kdump/device-source.ts';
import { type DeviceDump, openRecovered } from '../format/kdump/device-vmcore.ts';
import { checkIdentity, type Label, readLabel, sameBytes } from '../format/kdump/label.ts';
import { GEOMETRY } from '../format/kdump/log-layout.ts';
import { holdsDump, recoverLog } from '../format/kdump/log-reader.ts';

/** What to do about a device. */
export type Finding =
  /** Formatted and empty. */
  | { readonly kind: 'nothing'; readonly label: Label }
  /** This boot is writing it. */
  | { readonly kind: 'busy'; readonly label: Label }
  /** Holds a dump that nobody has saved. */
  | { readonly kind: 'save'; readonly label: Label; readonly dump: DeviceDump }
  /** Saved before, or taken by a stage 1 that stored nothing: to be formatted anew. */
  | { readonly kind: 'reformat'; readonly label: Label }
  /** Not ours, or not readable. */
  | { readonly kind: 'problem'; readonly error: DumpError };

export interface SurveyOptions {
  readonly codecs: CodecTable;
  readonly crc?: Crc32;
  /** Boot id of the running kernel, 16 bytes. */
  readonly bootId: Uint8Array;
  /** Called while a log is gone through. */
  readonly served?: () => void;
}

/** Reads one device's label and, where there is one, opens its dump. Writes nothing; only bugs are thrown. */
export function surveyDevice(device: DumpDevice, options: SurveyOptions): Finding {
  try {
    return survey(device, options);
  } catch (error) {
    if (error instanceof DumpError) return { kind: 'problem', error };
    throw error;
  }
}

function survey(device: DumpDevice, options: SurveyOptions): Finding {
  const { crc = crc32, bootId } = options;
  checkAnswers(device);
  const { label, problems } = readLabel(device, crc);
  if (!label) throw noLabel(device, problems);
  const misplaced = checkIdentity(label, device);
  if (misplaced) throw new NoDataError('LABEL_MISPLACED', misplaced, { device: device.name }, lookFirst(device));
  const { state } = label;
  if (state.state === 'ready') return { kind: 'nothing', label };
  if (state.state === 'saved') return { kind: 'reformat', label };
  if (state.state === 'inUse' && sameBytes(state.bootId, bootId)) return { kind: 'busy', label };
  const dump = openDump(device, label, options);
  if (dump) return { kind: 'save', label, dump };
  if (state.state === 'inUse') return { kind: 'reformat', label };
  throw new NoDataError(
    'DUMP_LOST',
    `${device.name} says that it holds dump ${formatUuid(state.dumpUuid)} (${state.state}), and no page of it can be found`,
    { device: device.name, dumpUuid: formatUuid(state.dumpUuid), state: state.state },
    'look at it with `diskdump check`; `diskdump format --force` gives the device up',
  );
}

/** Block 0 is read by that check, and needed by nothing here. */
function checkAnswers(device: DumpDevice): void {
  try {
    device.sanityCheck();
  } catch (error) {
    if (!isBadSector(error)) throw error;
  }
}

/** The dump, or `undefined` where no good start record with a good chunk is. */
function openDump(device: DumpDevice, label: Label, options: SurveyOptions): DeviceDump | undefined {
  const { codecs, crc = crc32, served } = options;
  const log = recoverLog(device, label, { crc, codecs, verify: true, ...(served && { served }) });
  if (!holdsDump(log)) return undefined;
  if (log.start || log.generation) return openRecovered(deviceSource(device), label, log, { codecs, crc });
  throw new DeviceError(
    'DUMP_UNREADABLE',
    `${device.name} cannot be read where its dump begins: ${log.startProblem}`,
    { device: device.name, operation: 'read', offset: GEOMETRY.logStart, errno: 'EIO' },
    'what it holds is not known; it is left as it is',
  );
}

function noLabel(device: DumpDevice, problems: readonly string[]): NoDataError {
  const data = { device: device.name };
  if (problems.length > 0) {
    const message = `${device.name} carries a damaged label of diskdump: ${problems.join('; ')}`;
    return new NoDataError(
      'LABEL_DAMAGED',
      message,
      data,
      'a dump on it may still be there: keep an image of the device',
    );
  }
  return new NoDataError('LABEL_ABSENT', `${device.name} carries no label of diskdump`, data, lookFirst(device));
}

function lookFirst({ name }: DumpDevice): string {
  return `\`diskdump check ${name}\` says what is on it, \`diskdump format ${name}\` makes it a dump device`;
}
