/** What a dump device is, in the words of `check`, and what is wrong with it. Reads only. */

import { type DumpDevice, readDevice } from '../../base/device.ts';
import { DumpError } from '../../base/errors.ts';
import { formatUuid, hexBytes } from '../../base/hex.ts';
import { deviceSource } from '../../format/kdump/device-source.ts';
import { type DeviceWord, describeDevice } from '../../format/kdump/device-state.ts';
import { type DeviceDump, openRecovered } from '../../format/kdump/device-vmcore.ts';
import { checkIdentity, type Label, type LabelReading, readLabel, sameBytes } from '../../format/kdump/label.ts';
import { holdsDump, recoverLog } from '../../format/kdump/log-reader.ts';
import { checkSignatures } from '../../format/kdump/signature.ts';
import { nodeCodecs, nodeCrc32 } from '../../host/codecs.ts';
import { probeDevice } from '../../host/device-probe.ts';

/** What was found out about a device. */
export interface DeviceCheck {
  readonly state: DeviceWord;
  /** What is wrong, one sentence each. */
  readonly problems: string[];
  /** Absent where there is no label. */
  readonly uuid?: string;
  /** The dump on it, to be checked page by page. */
  readonly dump?: DeviceDump;
}

/** Checks label, place, signatures and log of a device. @throws DeviceError where it can't be read at all. */
export function checkDevice(device: DumpDevice, bootId: Uint8Array, served: () => void): DeviceCheck {
  const reading = readLabel(device, nodeCrc32);
  const { label } = reading;
  if (!label) return describeUnlabelled(device, reading);
  const uuid = formatUuid(label.identity.uuid);
  const misplaced = checkIdentity(label, device);
  if (misplaced !== undefined) return { state: 'foreign', problems: [misplaced], uuid };
  const problems = [...reading.problems];
  const { state } = label.state;
  if (state === 'ready') problems.push(...signatureProblems(device, label, served));
  if (state === 'ready' || state === 'saved') return { state, problems, uuid };
  const log = recoverLog(device, label, { crc: nodeCrc32, codecs: nodeCodecs(), verify: true, served });
  const holds = holdsDump(log);
  const sameBoot = sameBytes(label.state.bootId, bootId);
  const word = describeDevice({ reading, head: new Uint8Array(512), sameBoot, holdsDump: holds });
  for (const { what } of log.damage) problems.push(`the log is damaged: ${what}`);
  if (!holds) {
    if (word !== 'in-use')
      problems.push(`the label says ${word}, and there is no dump: ${log.startProblem ?? 'no good record'}`);
    return { state: word, problems, uuid };
  }
  if (word === 'in-use') return { state: word, problems, uuid };
  const dump = openRecovered(deviceSource(device), label, log, { codecs: nodeCodecs(), crc: nodeCrc32 });
  if (dump.partialReason !== undefined) problems.push(`the dump is partial: ${dump.partialReason}`);
  return { state: word, problems, uuid, dump };
}

function describeUnlabelled(device: DumpDevice, reading: LabelReading): DeviceCheck {
  const head = new Uint8Array(Math.min(device.size, Math.max(512, device.blockSize)));
  if (head.length > 0) readDevice(device, head, 0);
  const { findings } = probeDevice(device);
  const problems = findings.map(({ name }) => `it is no dump device, it holds: ${name}`);
  if (reading.identity) problems.unshift(`its label is damaged: ${reading.problems.join('; ')}`);
  const state = findings.length > 0 ? 'foreign' : describeDevice({ reading, head, sameBoot: false, holdsDump: false });
  if (state === 'foreign' && problems.length === 0)
    problems.push(`it is no dump device, it begins with ${hexBytes(head.subarray(0, 8))}`);
  if (problems.length === 0)
    problems.push(
      `it has no label, stage 1 will pass it over: \`diskdump format ${device.name}\` makes it a dump device`,
    );
  return { state, problems };
}

function signatureProblems(device: DumpDevice, label: Label, served: () => void): string[] {
  try {
    const problem = checkSignatures(device, label, served);
    return problem ? [problem.message] : [];
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    return [`checking signatures: ${error.message}`];
  }
}
