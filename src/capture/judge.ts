/** May this device be written? Label, identity, block 0, signatures and state, as the table of the dump device says. */

import type { Crc32 } from '../base/crc32.ts';
import type { DumpDevice } from '../base/device.ts';
import { assertNever, DumpError } from '../base/errors.ts';
import { formatUuid, hexBytes } from '../base/hex.ts';
import type { CodecTable } from '../codec/codec.ts';
import { checkIdentity, type Label, readBlocks, readLabel, sameBytes } from '../format/kdump/label.ts';
import { GEOMETRY } from '../format/kdump/log-layout.ts';
import { holdsDump, recoverLog } from '../format/kdump/log-reader.ts';
import { checkSignatures } from '../format/kdump/signature.ts';
import type { Machine } from './machine.ts';
import type { CapturePlan } from './plan.ts';
import { planResume, type ResumePoint, resumeProblem } from './resume.ts';

/** What may be done with a device. */
export type Verdict =
  | { readonly kind: 'take'; readonly label: Label }
  | { readonly kind: 'resume'; readonly label: Label; readonly resume: ResumePoint }
  | { readonly kind: 'refuse'; readonly label?: Label; readonly code: string; readonly message: string };

export interface JudgeOptions {
  readonly machine: Machine;
  readonly plan: CapturePlan;
  /** 16 bytes of this boot; zeros where nothing is ever resumed. */
  readonly bootId: Uint8Array;
  /** Of this machine, 16 bytes: another machine's device is refused. Absent: any. */
  readonly machineId?: Uint8Array;
  /** SHA-256 of the armed image; a device armed with another one is taken all the same, and it is said. */
  readonly armedDigest: Uint8Array;
  /** UUIDs of labels whose device failed in this boot, in their usual form. */
  readonly tried: ReadonlySet<string>;
  readonly crc: Crc32;
  readonly codecs: CodecTable;
  /** Told of what is odd and no reason to refuse. */
  readonly warn: (message: string) => void;
  /** Called now and then in long checks. */
  readonly served: () => void;
}

/** Judges devices one by one. Never writes. */
export class DeviceJudge {
  readonly #options: JudgeOptions;

  constructor(options: JudgeOptions) {
    this.#options = options;
  }

  /**
   * @param uuid the label that is expected.
   * @param want `resume`: only a log of this boot is looked for, and signatures are left alone.
   */
  judge(device: DumpDevice, uuid: Uint8Array | undefined, want: 'resume' | 'take'): Verdict {
    try {
      device.sanityCheck();
      device.quiesce();
      return this.#judgeLabel(device, uuid, want);
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      return { kind: 'refuse', code: error.code, message: error.message };
    }
  }

  #judgeLabel(device: DumpDevice, uuid: Uint8Array | undefined, want: 'resume' | 'take'): Verdict {
    const { label, problems } = readLabel(device, this.#options.crc);
    if (!label) {
      const detail = problems.length > 0 ? `: ${problems.join('; ')}` : '';
      return refuse('DEVICE_NOT_OURS', `${device.name} has no label of diskdump${detail}`);
    }
    const foreign = this.#foreign(device, label, uuid);
    if (foreign) return foreign;
    const { state } = label.state;
    if (want === 'resume' && state !== 'inUse') return refuse('DEVICE_STATE', `${device.name} is ${state}`, label);
    switch (state) {
      case 'ready':
        return this.#judgeReady(device, label);
      case 'inUse':
        return this.#judgeInUse(device, label);
      case 'ended':
      case 'complete':
        return unsaved(device, label);
      case 'saved':
        return this.#take(label);
      default:
        return assertNever(state);
    }
  }

  /** Everything that makes a labelled device not the one to write to. */
  #foreign(device: DumpDevice, label: Label, uuid: Uint8Array | undefined): Verdict | undefined {
    const { machineId, tried } = this.#options;
    const { identity } = label;
    const name = formatUuid(identity.uuid);
    if (uuid && !sameBytes(uuid, identity.uuid))
      return refuse('DEVICE_OTHER_LABEL', `${device.name} has label ${name}, expected ${formatUuid(uuid)}`, label);
    if (tried.has(name)) return refuse('DEVICE_TRIED', `${device.name} failed in this boot already`, label);
    if (machineId && identity.machineId.some((byte) => byte !== 0) && !sameBytes(machineId, identity.machineId))
      return refuse(
        'DEVICE_OTHER_MACHINE',
        `${device.name} was formatted by machine ${hexBytes(identity.machineId)}, this is ${hexBytes(machineId)}`,
        label,
      );
    const moved = checkIdentity(label, device);
    if (moved !== undefined) return refuse('DEVICE_IDENTITY', moved, label);
    return this.#checkBlock0(device, label);
  }

  /** Block 0 of a device of ours begins in one of three ways; anything else was put there since. */
  #checkBlock0(device: DumpDevice, label: Label): Verdict | undefined {
    const start = readBlocks(device, 0, GEOMETRY.signatureBlock).subarray(0, 8);
    const text = String.fromCharCode(...start);
    if (text === 'diskdump' || text === 'KDUMP   ' || start.every((byte) => byte === 0)) return undefined;
    return refuse(
      'DEVICE_FOREIGN_DATA',
      `${device.name} begins with foreign data ${hexBytes(start)}, expected a signature, a dump or zeros`,
      label,
    );
  }

  #judgeReady(device: DumpDevice, label: Label): Verdict {
    const problem = checkSignatures(device, label, this.#options.served);
    return problem ? refuse('DEVICE_SIGNATURE', `${device.name}: ${problem.message}`, label) : this.#take(label);
  }

  #take(label: Label): Verdict {
    const { armedDigest, warn } = this.#options;
    const digest = label.state.armedDigest;
    if (digest.some((byte) => byte !== 0) && !sameBytes(digest, armedDigest))
      warn(`device ${formatUuid(label.identity.uuid)} was armed with another image than the one that runs`);
    return { kind: 'take', label };
  }

  #judgeInUse(device: DumpDevice, label: Label): Verdict {
    const { machine, plan, bootId, crc, codecs, served, warn } = this.#options;
    const ofThisBoot =
      machine.kind === 'vmcore' && bootId.some((byte) => byte !== 0) && sameBytes(bootId, label.state.bootId);
    const state = recoverLog(device, label, { crc, codecs, served, prove: ofThisBoot ? 'loose' : 'lists' });
    if (!ofThisBoot) return holdsDump(state) ? unsaved(device, label) : this.#take(label);
    const problem = resumeProblem(state, machine, plan);
    if (problem === undefined) return { kind: 'resume', label, resume: planResume(state, plan) };
    warn(`${device.name} is in use by this boot, but ${problem}`);
    return holdsDump(state) ? unsaved(device, label) : this.#take(label);
  }
}

function unsaved(device: DumpDevice, label: Label): Verdict {
  const dump = formatUuid(label.state.dumpUuid);
  return refuse('DEVICE_UNSAVED', `${device.name} holds dump ${dump}, not saved yet (${label.state.state})`, label);
}

function refuse(code: string, message: string, label?: Label): Verdict {
  return { kind: 'refuse', code, message, ...(label && { label }) };
}
