/** A whole run of stage 1: plan, choose a device, write, and after a failure go on with the next one. */

import type { Crc32 } from '../base/crc32.ts';
import { type DumpDevice, isDeviceError } from '../base/device.ts';
import type { DeviceError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import type { Range } from '../base/ranges.ts';
import type { CodecTable, PageCodec } from '../codec/codec.ts';
import type { KernelBinaries } from '../codec/page-kernels.ts';
import {
  fitParameters,
  GENERATION_SHARE,
  WRITER_PARAMETERS,
  type WriterParameters,
} from '../format/kdump/log-parameters.ts';
import type { RunRefusal } from '../format/kdump/run-record.ts';
import type { PassState } from '../format/vmcore.ts';
import type { HoleRange } from './holes.ts';
import { DeviceJudge } from './judge.ts';
import type { Machine } from './machine.ts';
import { planCapture } from './plan.ts';
import { RunLog } from './run-log.ts';
import { type DeviceEntry, type DeviceFinder, DeviceSelection, type SelectedDevice } from './select.ts';
import type { CaptureProgress, Supervisor } from './supervisor.ts';
import { capturePart, type DumpJob, type MachineFacts, type PartResult } from './target.ts';

/** How long devices that are not there yet are waited for. */
export const DEVICE_WAIT_MS = 20_000;

export interface CaptureOptions {
  readonly machine: Machine;
  readonly facts: MachineFacts;
  /** Pfns to have first; see `kernel/essential-pages.ts`. */
  readonly essential: readonly Range[];
  /** In order of preference. */
  readonly devices: readonly DeviceEntry[];
  readonly finder: DeviceFinder;
  readonly deviceWaitMs?: number;
  /** Sleeps. */
  readonly wait: (ms: number) => void;
  readonly supervisor: Supervisor;
  /**
   * U for a new dump. In the capture kernel its boot id serves: the same after a restart, so that parts that two processes
   * of one boot write belong together.
   */
  readonly dumpUuid: Uint8Array;
  /** 16 bytes in the capture kernel; zeros elsewhere, and then nothing is resumed. */
  readonly bootId: Uint8Array;
  /** Of this machine, 16 bytes; absent: labels of any machine will do. */
  readonly machineId?: Uint8Array;
  /** SHA-256 of the armed image; zeros if none. */
  readonly armedDigest: Uint8Array;
  /** UUIDs, in their usual form, of devices that failed in this boot. */
  readonly tried?: ReadonlySet<string>;
  /** Told when a device failed in mid-dump, so that a restart does not try it again. */
  readonly onFailed?: (deviceUuid: string) => void;
  /** Look for a log of this boot first. False spares the look at later devices where this is the first process of the boot. */
  readonly resume?: boolean;
  /** Compresses pages; raw without. */
  readonly codec?: PageCodec;
  /** To prove pages when a log is resumed. */
  readonly codecs: CodecTable;
  readonly crc: Crc32;
  /** For the zero test; in TypeScript where absent. */
  readonly kernels?: KernelBinaries;
  readonly parameters?: WriterParameters;
  readonly windowBytes?: number;
  /** Told of every event of the run as it happens, for the console. */
  readonly tell?: (event: string) => void;
}

/** What became of a capture; the value of `capture --json`. */
export interface CaptureResult {
  readonly schema: 'diskdump.capture/1';
  /**
   * `complete` and `partial`: the dump is closed on `device`; `failed`: every device that took it failed in mid-dump, and
   * `device` has what there is; `no-device`: none was fit, nothing was written.
   */
  readonly outcome: 'complete' | 'partial' | 'failed' | 'no-device';
  readonly state: 'complete' | 'partial' | 'none';
  readonly device?: string;
  readonly deviceUuid?: string;
  readonly dumpUuid: string;
  /** 1 = the first device that took the dump. */
  readonly part: number;
  /** Pages stored, zero pages included. */
  readonly pages: number;
  readonly plannedPages: number;
  /** Bytes from the start of the device to the end of its log. */
  readonly bytes: number;
  readonly passes: readonly PassState[];
  /** Planned pages that could not be read. */
  readonly holes: number;
  readonly holeRanges: readonly HoleRange[];
  /** Why it is partial. */
  readonly reason?: string;
  readonly resumed: boolean;
  readonly refused: readonly RunRefusal[];
  readonly seconds: number;
}

/**
 * Captures a machine to the first sane device of the list; after a device error in mid-dump the next one gets a dump of
 * its own from the start of the plan, with the same U and the next part.
 *
 * @throws whatever is not a failure of a device: a bug, which the caller must survive.
 */
export function capture(options: CaptureOptions): CaptureResult {
  return new CaptureRun(options).run();
}

/** One part that was begun. */
interface Part {
  readonly selected: SelectedDevice;
  readonly number: number;
  /** Absent where the device failed. */
  readonly result?: PartResult;
  readonly pages: number;
}

class CaptureRun {
  readonly #options: CaptureOptions;
  readonly #log: RunLog;
  readonly #selection: DeviceSelection;
  readonly #progress: CaptureProgress;
  #job: DumpJob;

  constructor(options: CaptureOptions) {
    const { machine, supervisor, codec } = options;
    this.#options = options;
    this.#log = new RunLog(supervisor.clock, options.tell);
    const plan = planCapture(machine, options.essential);
    this.#progress = {
      phase: 'checking',
      device: '',
      pass: '',
      storedPages: 0,
      plannedPages: plan.planned,
      holePages: 0,
      bytes: 0,
    };
    const generationShare = codec ? GENERATION_SHARE.compressed : GENERATION_SHARE.raw;
    this.#job = {
      ...options,
      plan,
      parameters: fitParameters(options.parameters ?? { ...WRITER_PARAMETERS, generationShare }, plan.planned),
      log: this.#log,
      progress: this.#progress,
    };
    const served = (): void => supervisor.progress(this.#progress);
    const judge = new DeviceJudge({
      ...options,
      plan,
      tried: options.tried ?? new Set(),
      warn: (message) => this.#log.event(message),
      served,
    });
    this.#selection = new DeviceSelection({
      ...options,
      judge,
      log: this.#log,
      progress: this.#progress,
      deviceWaitMs: options.deviceWaitMs ?? DEVICE_WAIT_MS,
    });
    this.#log.event(`${plan.present} pages in ${plan.ranges.length} ranges, ${plan.passes[0]?.pages} of them first`);
  }

  run(): CaptureResult {
    const { machine, resume = true } = this.#options;
    machine.freeze?.();
    try {
      return this.#toDevices(resume ? this.#selection.findResumable() : undefined);
    } finally {
      machine.resume?.();
    }
  }

  #toDevices(resumable: SelectedDevice | undefined): CaptureResult {
    const failed: Part[] = [];
    // Parts of this dump that an earlier process of this boot may have begun are counted.
    let number = 1 + (this.#options.tried?.size ?? 0);
    for (let selected = resumable ?? this.#selection.next(); selected; selected = this.#selection.next()) {
      if (selected.resume) {
        number = selected.label.state.part;
        this.#job = { ...this.#job, dumpUuid: selected.label.state.dumpUuid };
      }
      const part = this.#write(selected, number);
      if (part.result) return this.#result(part, part.result.complete ? 'complete' : 'partial');
      failed.push(part);
      number++;
    }
    const best = failed.reduce<Part | undefined>((a, b) => (a && a.pages >= b.pages ? a : b), undefined);
    return this.#result(best, best ? 'failed' : 'no-device');
  }

  #write(selected: SelectedDevice, number: number): Part {
    const { device, label, resume } = selected;
    this.#log.nextDevice();
    this.#progress.storedPages = 0;
    try {
      const result = capturePart(this.#job, device, label, number, resume);
      device.shutdown();
      return { selected, number, result, pages: result.writer.stored };
    } catch (error) {
      if (!isDeviceError(error)) throw error;
      this.#fail(selected, error);
      return { selected, number, pages: this.#progress.storedPages };
    }
  }

  #fail(selected: SelectedDevice, error: DeviceError): void {
    const { device, label } = selected;
    this.#selection.strike(selected);
    this.#options.onFailed?.(formatUuid(label.identity.uuid));
    this.#log.refuse({ device: device.name, code: error.code, message: error.message });
    device.shutdown();
  }

  #result(part: Part | undefined, outcome: CaptureResult['outcome']): CaptureResult {
    const { plan, dumpUuid } = this.#job;
    const writer = part?.result?.writer;
    const log = this.#log;
    return {
      schema: 'diskdump.capture/1',
      outcome,
      state: outcome === 'complete' ? 'complete' : part && part.pages > 0 ? 'partial' : 'none',
      ...(part && { device: part.selected.device.name, deviceUuid: formatUuid(part.selected.label.identity.uuid) }),
      dumpUuid: formatUuid(dumpUuid),
      part: part?.number ?? 0,
      pages: part?.pages ?? 0,
      plannedPages: plan.planned,
      bytes: writer?.end ?? 0,
      passes: (writer?.passes ?? []).map(({ name, planned, stored }) => ({
        name,
        planned,
        stored,
        complete: stored === planned,
      })),
      holes: log.holes.pages,
      holeRanges: log.holes.list(),
      ...(log.reason !== undefined && { reason: log.reason }),
      resumed: part?.selected.resume !== undefined,
      refused: log.refused,
      seconds: log.elapsedMs / 1000,
    };
  }
}

/** A finder over devices that are open already, one for each entry, such as those named on a command line. */
export function fixedFinder(devices: ReadonlyMap<string, readonly DumpDevice[]>): DeviceFinder {
  return { find: (entry) => devices.get(entry.name) ?? [] };
}
