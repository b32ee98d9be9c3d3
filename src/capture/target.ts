/** One part of a dump on one device: label, log writer and engine put together. */

import type { Crc32 } from '../base/crc32.ts';
import type { DumpDevice } from '../base/device.ts';
import type { PageCodec } from '../codec/codec.ts';
import type { KernelBinaries } from '../codec/page-kernels.ts';
import { type Label, labelGeometry, writeLabelState } from '../format/kdump/label.ts';
import { DUMP_LEVEL_ZERO } from '../format/kdump/layout.ts';
import { MACHINE_KIND } from '../format/kdump/log-layout.ts';
import type { WriterParameters } from '../format/kdump/log-parameters.ts';
import type { StartRecord } from '../format/kdump/log-start.ts';
import { LogWriter } from '../format/kdump/log-writer.ts';
import { findNote, prstatusNotes, VMCOREINFO_OWNER, walkNotes } from '../format/notes.ts';
import type { Utsname } from '../format/vmcore.ts';
import { CaptureEngine } from './engine.ts';
import type { Machine } from './machine.ts';
import type { CapturePlan } from './plan.ts';
import { type ResumePoint, restoreLog } from './resume.ts';
import type { RunLog } from './run-log.ts';
import type { CaptureProgress, Supervisor } from './supervisor.ts';

/** What is known of the dead kernel besides its memory. */
export interface MachineFacts {
  /** From its `init_uts_ns`. */
  readonly utsname: Utsname;
  /** Signed; from vmcoreinfo's NUMBER(phys_base). */
  readonly physBase: number;
  /** CRASHTIME of vmcoreinfo in seconds since 1970, 0 where it has none. */
  readonly crashSeconds: number;
}

/** What all parts of one dump share. */
export interface DumpJob {
  readonly machine: Machine;
  readonly facts: MachineFacts;
  readonly plan: CapturePlan;
  /** U, 16 bytes. */
  readonly dumpUuid: Uint8Array;
  /** 16 bytes; zeros unless captured over /proc/vmcore. */
  readonly bootId: Uint8Array;
  /** SHA-256 of the armed image, 32 bytes; zeros if none. */
  readonly armedDigest: Uint8Array;
  readonly codec?: PageCodec;
  readonly crc: Crc32;
  readonly kernels?: KernelBinaries;
  readonly parameters: WriterParameters;
  readonly windowBytes?: number;
  readonly supervisor: Supervisor;
  readonly log: RunLog;
  readonly progress: CaptureProgress;
}

/** What one device got. */
export interface PartResult {
  /** Every planned page is stored, flushed, and the label says complete. */
  readonly complete: boolean;
  readonly writer: LogWriter;
}

/**
 * Writes one part: label *in use*, log, closing generation, label *complete* or *ended*.
 *
 * @param resume where a log of this boot goes on; the label then says *in use* already.
 * @throws DeviceError when the device fails; what is on it stays as honest as it was.
 */
export function capturePart(
  job: DumpJob,
  device: DumpDevice,
  label: Label,
  part: number,
  resume?: ResumePoint,
): PartResult {
  const { supervisor, progress, log, plan } = job;
  const poll = device.poll ? () => device.poll?.(supervisor.clock.monotonicMs()) : undefined;
  const writer = new LogWriter({
    device,
    dataEnd: labelGeometry(label.identity).dataEnd,
    dumpUuid: job.dumpUuid,
    part,
    pageSize: job.machine.pageSize,
    start: startRecord(job),
    present: plan.present,
    timestampSeconds: job.facts.crashSeconds || (job.machine.kind === 'file' ? 0 : nowSeconds(job)),
    parameters: job.parameters,
    crc: job.crc,
    served: () => supervisor.progress(progress),
  });
  const engine = new CaptureEngine({
    ...job,
    writer,
    ...(poll && { poll }),
    ...(resume && { from: resume.from }),
  });
  progress.device = device.name;
  progress.plannedPages = plan.planned;
  let current = label;
  if (resume) {
    restoreLog(resume, writer, log.holes, { device, label, plan, crc: job.crc });
    log.event(`resumed on ${device.name} behind ${writer.stored} pages`);
  } else {
    const use = {
      state: 'inUse',
      dumpUuid: job.dumpUuid,
      part,
      bootId: job.bootId,
      armedDigest: job.armedDigest,
    } as const;
    current = writeLabelState(device, label, { ...use, writtenMs: supervisor.clock.wallMs() }, job.crc);
    writer.begin();
    log.event(`writing to ${device.name}, part ${part}`);
  }
  const complete = resume?.last ? finishLast(resume, writer) : engine.run();
  const state = complete ? 'complete' : 'ended';
  writeLabelState(device, current, { state, writtenMs: supervisor.clock.wallMs() }, job.crc);
  log.event(`${device.name}: ${state}`);
  return { complete, writer };
}

/** A dump file died long before: only its own header could say when. */
function nowSeconds({ supervisor }: DumpJob): number {
  return Math.floor(supervisor.clock.wallMs() / 1000);
}

/** The last generation was whole when stage 1 was killed: block 0 must name it, then the label follows. */
function finishLast(resume: ResumePoint, writer: LogWriter): boolean {
  writer.showGeneration(resume.state.generation?.record.bitmap1Offset as number, true);
  return true;
}

/** What the start record says of the job. */
function startRecord(job: DumpJob): Omit<StartRecord, 'notesOffset'> {
  const { machine, facts, plan, parameters } = job;
  const notes = walkNotes(machine.notes);
  const vmcoreinfo = findNote(notes, VMCOREINFO_OWNER);
  return {
    maxMapnr: plan.maxMapnr,
    physBase: facts.physBase,
    wallMs: Math.floor(job.supervisor.clock.wallMs() - job.log.elapsedMs),
    bootId: job.bootId,
    notes: machine.notes,
    vmcoreinfo: vmcoreinfo
      ? { offset: vmcoreinfo.descOffset, length: vmcoreinfo.desc.length }
      : { offset: 0, length: 0 },
    dumpLevel: (machine.dumpLevel ?? 0) | DUMP_LEVEL_ZERO,
    codec: job.codec?.flag ?? 0,
    ranges: plan.ranges,
    passes: plan.passes.map(({ name, pages }) => ({
      name,
      planned: pages,
      stored: 0,
      holes: 0,
      indexes: 0,
      state: 'notBegun' as const,
    })),
    cpuCount: prstatusNotes(notes).length,
    machineKind: MACHINE_KIND[machine.kind],
    utsname: facts.utsname,
    chunkBytes: parameters.chunkBytes,
    chunkEntries: parameters.chunkEntries,
    indexInterval: parameters.indexInterval,
    crashSeconds: facts.crashSeconds,
    armedDigest: job.armedDigest,
    machineName: machine.name,
  };
}
