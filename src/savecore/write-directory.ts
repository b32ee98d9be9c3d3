/** Writes one crash directory: vmcore, further parts, dmesg, info.json; under a temporary name until all of it is safe. */

import { crc32 } from '../base/crc32.ts';
import { DeviceError, DumpError } from '../base/errors.ts';
import { formatUuid } from '../base/hex.ts';
import { CODEC_FLAG } from '../codec/codec.ts';
import type { DeviceDump } from '../format/kdump/device-vmcore.ts';
import { DUMP_LEVEL_ZERO } from '../format/kdump/layout.ts';
import { GEOMETRY } from '../format/kdump/log-layout.ts';
import { openKdump } from '../format/kdump/reader.ts';
import { type KdumpPlan, planKdumpSize } from '../format/kdump/writer.ts';
import type { Utsname } from '../format/vmcore.ts';
import { formatVmcoreDmesg } from '../kernel/log-text.ts';
import { openKernel } from '../kernel/open.ts';
import { type CopySummary, copyVmcore, verifyCopy } from './copy.ts';
import { chooseDirectory, formatCrashDirectory, unfinishedDirectory } from './directory.ts';
import { type SaveOptions, type SaveStep, SaveStopped } from './options.ts';
import type { SaveRecord } from './record.ts';
import type { SaveStore } from './store.ts';
import { type DmesgSummary, writeDmesg, writeWhole } from './write-files.ts';

/** Room for dmesg, info.json and what the file system itself takes. */
const MARGIN_BYTES = 8 * 2 ** 20;

/**
 * Saves `main` as `vmcore` and the other parts as `vmcore.part-N`.
 *
 * @returns the directory's name in the store.
 * @throws DeviceError `NO_SPACE` before anything is written; DeviceError, FormatError when the copy fails or does not verify;
 *   SaveStopped, with nothing left behind.
 */
export function* writeDirectory(
  main: DeviceDump,
  parts: readonly DeviceDump[],
  options: SaveOptions,
): Generator<SaveStep, string> {
  const { store, clock } = options;
  const startedMs = clock.monotonicMs();
  const unfinished = unfinishedDirectory(formatUuid(main.dumpUuid));
  store.removeDirectory(unfinished);
  const plans = new Map(parts.map((part) => [part, planCopy(part)]));
  checkSpace(plans, options);
  store.makeDirectory(unfinished);
  const files: WrittenFile[] = [];
  for (const part of parts) {
    const name = part === main ? 'vmcore' : `vmcore.part-${part.part}`;
    try {
      files.push({ name, part, copy: yield* writePart(part, plans.get(part)!, `${unfinished}/${name}`, options) });
    } catch (error) {
      if (error instanceof SaveStopped || error instanceof DumpError) removeUnfinished(store, unfinished);
      throw error;
    }
  }
  const dmesg = writeLog(unfinished, options);
  const info = describeDirectory(main, files, dmesg, (clock.monotonicMs() - startedMs) / 1000, options);
  writeWhole(store, `${unfinished}/info.json`, new TextEncoder().encode(`${JSON.stringify(info, null, 2)}\n`));
  store.syncDirectory(unfinished);
  const directory = chooseDirectory(store, formatCrashDirectory(crashSeconds(main)));
  store.rename(unfinished, directory);
  store.syncDirectory('');
  return directory;
}

/** Room for the next try. What stays because of a failing store is replaced by it. */
function removeUnfinished(store: SaveStore, directory: string): void {
  try {
    store.removeDirectory(directory);
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
  }
}

/** When the kernel died: CRASHTIME, else when stage 1 began, else when the label was written. */
function crashSeconds({ start, label }: DeviceDump): number {
  const times = [
    start?.crashSeconds ?? 0,
    Math.floor((start?.wallMs ?? 0) / 1000),
    Math.floor(label.state.writtenMs / 1000),
  ];
  return times.find((seconds) => seconds > 0 && seconds < YEAR_10000) ?? 0;
}

/** Seconds since 1970: what a device says is later is no date. */
const YEAR_10000 = 253_402_300_800;

/** When the kernel died is told only where the kernel noted it; when stage 1 began stands under its own name. */
function timesOf({ start }: DeviceDump): { readonly crashTime?: string; readonly capturedAt?: string } {
  const isDate = (seconds = 0): boolean => seconds > 0 && seconds < YEAR_10000;
  return {
    ...(isDate(start?.crashSeconds) && { crashTime: new Date(start!.crashSeconds * 1000).toISOString() }),
    ...(isDate((start?.wallMs ?? 0) / 1000) && { capturedAt: new Date(start!.wallMs).toISOString() }),
  };
}

interface PartPlan {
  readonly plan: Omit<KdumpPlan, 'present'>;
  readonly bytesMax: number;
}

function planCopy(part: DeviceDump): PartPlan {
  const { start, log } = part;
  const plan = {
    utsname: start?.utsname ?? NO_UTSNAME,
    timestampSeconds: part.header.timestampSeconds === undefined ? 0 : crashSeconds(part),
    pageSize: part.pageSize,
    maxMapnr: part.maxMapnr,
    storedMax: part.countPages().stored,
    dumpLevel: start?.dumpLevel ?? DUMP_LEVEL_ZERO,
    physBase: start?.physBase ?? 0,
    cpuCount: start?.cpuCount ?? 0,
    notes: start?.notes ?? new Uint8Array(0),
    vmcoreinfo: start && start.vmcoreinfo.length > 0 ? start.vmcoreinfo : undefined,
    codec: start?.codec ?? CODEC_FLAG.raw,
  };
  // Every stored byte lies in the log once, so the log bounds the data.
  const dataMax = Math.min(log.end - GEOMETRY.logStart, plan.storedMax * part.pageSize);
  return { plan, bytesMax: planKdumpSize(plan, dataMax) };
}

function checkSpace(plans: ReadonlyMap<DeviceDump, PartPlan>, { store }: SaveOptions): void {
  let needed = MARGIN_BYTES;
  for (const { bytesMax } of plans.values()) needed += bytesMax;
  const free = store.freeBytes();
  if (free >= needed) return;
  throw new DeviceError(
    'NO_SPACE',
    `saving to ${store.name}: ${free} bytes are free, up to ${needed} are needed`,
    { device: store.name, operation: 'write', length: needed, errno: 'ENOSPC' },
    'free space there or choose another place with --to; the dump stays on its device',
  );
}

function* writePart(
  part: DeviceDump,
  { plan }: PartPlan,
  path: string,
  options: SaveOptions,
): Generator<SaveStep, CopySummary> {
  const { store, codecs, crc = crc32 } = options;
  const steps = { device: part.name, totalPages: plan.storedMax, pageSize: part.pageSize };
  const sink = store.create(path);
  let copy: CopySummary;
  try {
    const work = copyVmcore(part, sink, plan, part.state !== 'complete', { codecs, crc });
    copy = yield* tell(work, { step: 'copy', ...steps }, options);
    sink.flush();
  } finally {
    sink.close();
  }
  yield* provePart(part, path, copy, options);
  return copy;
}

/**
 * Reads the file of a part from the medium and proves each page by the checksum that came with it from stage 1.
 *
 * @throws FormatError, DeviceError where it is not what was written; SaveStopped
 */
export function* provePart(
  part: DeviceDump,
  path: string,
  expected: Pick<CopySummary, 'pages' | 'bytes'>,
  options: SaveOptions,
): Generator<SaveStep, void> {
  const { store, codecs, crc = crc32 } = options;
  const step = { step: 'verify', device: part.name, totalPages: expected.pages, pageSize: part.pageSize } as const;
  const source = store.open(path, true);
  try {
    yield* tell(verifyCopy(source, expected, { codecs, crc }), step, options);
  } finally {
    source.close();
  }
}

/** Passes on how far some work is, and asks after each piece whether to go on. @throws SaveStopped */
function* tell<T>(
  work: Generator<number, T>,
  step: Omit<Extract<SaveStep, { step: 'copy' | 'verify' }>, 'donePages'>,
  { stopped }: SaveOptions,
): Generator<SaveStep, T> {
  for (;;) {
    const next = work.next();
    if (next.done) return next.value;
    yield { ...step, donePages: next.value };
    if (stopped?.()) throw new SaveStopped();
  }
}

/** The kernel log, out of the vmcore as it was written. */
function writeLog(directory: string, { store, codecs, crc = crc32 }: SaveOptions): DmesgSummary {
  const source = store.open(`${directory}/vmcore`, false);
  try {
    const walk = () => openKernel(openKdump(source, { codecs, crc })).walkLog();
    return writeDmesg(store, `${directory}/vmcore-dmesg.txt`, walk, formatVmcoreDmesg);
  } finally {
    source.close();
  }
}

function partialReason(main: DeviceDump, copy: CopySummary): string | undefined {
  if (copy.struckPages === 0) return main.partialReason ?? 'pages that were in memory are not in the dump';
  const struck = `${copy.struckPages} pages on the device could not be proved and were left out`;
  return main.partialReason === undefined ? struck : `${main.partialReason}; ${struck}`;
}

interface WrittenFile {
  readonly name: string;
  readonly part: DeviceDump;
  readonly copy: CopySummary;
}

/** The document in `info.json`. `whole` is what later runs look for. */
function describeDirectory(
  main: DeviceDump,
  files: readonly WrittenFile[],
  dmesg: DmesgSummary,
  seconds: number,
  options: SaveOptions,
) {
  const { start, runRecord } = main;
  const { copy } = files.find((file) => file.part === main)!;
  const { present, stored } = main.countPages();
  const state = main.state === 'complete' && copy.struckPages === 0 ? 'complete' : 'partial';
  const reason = state === 'complete' ? undefined : partialReason(main, copy);
  const logProblem = dmesg.bytes === 0 ? (dmesg.problem ?? 'it is empty') : undefined;
  const passes = main.header.passes ?? [];
  const dumpUuid = formatUuid(main.dumpUuid);
  const record: Omit<SaveRecord, 'again' | 'dir'> = {
    schema: 'diskdump.save/1',
    device: files.map(({ part }) => part.name).join(','),
    dumpUuid,
    kind: 'dump',
    state,
    pages: copy.pages,
    bytes: files.reduce((sum, file) => sum + file.copy.bytes, 0),
    passes: passes.map(({ name, complete }) => ({ name, complete })),
    // What a whole dump does not have, a filter left out.
    holes: (main.state === 'complete' ? stored : present) - copy.pages,
    ...(reason === undefined ? {} : { reason }),
    ...(logProblem === undefined ? {} : { logProblem }),
    seconds,
  };
  return {
    schema: 'diskdump.saved/1',
    whole: true,
    kind: 'dump',
    dumpUuid,
    state,
    ...(reason === undefined ? {} : { reason }),
    ...(start?.utsname ?? {}),
    ...timesOf(main),
    savedAt: new Date(options.clock.wallMs()).toISOString(),
    savedBy: options.writtenBy,
    pages: { maxPfn: main.maxMapnr, present, stored: copy.pages, zero: copy.zero },
    passes,
    struck: { pages: copy.struckPages, ranges: copy.struck },
    parts: files.map(({ name, part, copy: { bytes, pages, struckPages } }) => ({
      file: name,
      part: part.part,
      device: part.name,
      state: part.state,
      bytes,
      pages,
      struckPages,
    })),
    dmesg: { ...(dmesg.bytes > 0 && { file: 'vmcore-dmesg.txt' }), ...dmesg },
    record,
    ...(runRecord === undefined ? {} : { run: runRecord }),
  };
}

const NO_UTSNAME: Utsname = { sysname: '', nodename: '', release: '', version: '', machine: '', domainname: '' };
