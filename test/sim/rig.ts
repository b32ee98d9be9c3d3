/** The real engine on a simulated disk: formatting, capturing, and the judgement over what survived. */

import assert from 'node:assert/strict';
import { ManualClock } from '../../src/base/clock.ts';
import type { DumpDevice } from '../../src/base/device.ts';
import { DumpError, NoDataError } from '../../src/base/errors.ts';
import { formatUuid } from '../../src/base/hex.ts';
import { findRange } from '../../src/base/ranges.ts';
import { bytesSource } from '../../src/base/source.ts';
import { type CaptureOptions, type CaptureResult, capture, fixedFinder } from '../../src/capture/capture.ts';
import type { MachineFacts } from '../../src/capture/target.ts';
import { CODEC_FLAG } from '../../src/codec/codec.ts';
import { formatDevice, planFormat, reformatDevice } from '../../src/format/kdump/device-format.ts';
import { type DeviceDump, openDeviceDump } from '../../src/format/kdump/device-vmcore.ts';
import { readLabel, writeLabelState } from '../../src/format/kdump/label.ts';
import type { WriterParameters } from '../../src/format/kdump/log-parameters.ts';
import { openKdump } from '../../src/format/kdump/reader.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { SimDisk, type SimDiskOptions } from './sim-disk.ts';
import { PAGE, type SimMachine } from './sim-machine.ts';

export const CODECS = nodeCodecs();
export const LOG_AREA_BYTES = 65536;
/** Of the dump that is on a reused device: no other has its U. */
const STALE_SEED = 2 ** 20;

/** So small that some hundred pages meet every kind of record several times. */
export const SMALL: WriterParameters = {
  chunkBytes: 32768,
  chunkEntries: 12,
  indexInterval: 32,
  runRecordReserve: 4096,
  generationShare: 0.5,
  body: { bitmapWindow: 4096, descriptorWindow: 12288, cursorWindow: 4096 },
};

/** 16 bytes from a number, for UUIDs and boot ids. */
export function simUuid(n: number): Uint8Array {
  const uuid = new Uint8Array(16).fill(0x5d);
  new DataView(uuid.buffer).setUint32(0, n, true);
  return uuid;
}

/** A blank disk, formatted. */
export function formattedDisk(
  size: number,
  options: Partial<SimDiskOptions> & { readonly uuid?: number } = {},
): SimDisk {
  const { uuid = 1, ...rest } = options;
  const disk = new SimDisk({ ...rest, image: new Uint8Array(size) });
  const plan = planFormat(disk, {
    uuid: simUuid(uuid),
    nowMs: 0,
    sampleRate: 4,
    logAreaBytes: LOG_AREA_BYTES,
    requiredBytes: 0,
  });
  formatDevice(disk, plan, { crc: nodeCrc32 });
  return disk;
}

/** Crash time of a simulated machine: also how other tools' view of a device tells which dump it shows. */
export function simCrashSeconds(machine: SimMachine): number {
  return 1780000000 + Number(machine.name.slice('sim:'.length));
}

export function simFacts(machine: SimMachine): MachineFacts {
  return {
    utsname: {
      sysname: 'Linux',
      nodename: 'sim',
      release: '6.1.0-sim',
      version: '#1 SMP',
      machine: 'x86_64',
      domainname: '(none)',
    },
    physBase: 0,
    crashSeconds: simCrashSeconds(machine),
  };
}

/** One capture by the real engine. Devices stand in the list under their own names. */
export function simCapture(
  machine: SimMachine,
  disks: readonly DumpDevice[],
  options: Partial<CaptureOptions> & { readonly seed?: number; readonly raw?: boolean } = {},
): CaptureResult {
  const { seed = 1, raw = false, ...rest } = options;
  const clock = new ManualClock();
  const codec = CODECS.get(seed % 2 === 0 ? CODEC_FLAG.zlib : CODEC_FLAG.zstd);
  return capture({
    machine,
    facts: simFacts(machine),
    essential: machine.essential,
    devices: disks.map(({ name }) => ({ name })),
    finder: fixedFinder(new Map(disks.map((disk) => [disk.name, [disk]]))),
    wait: (ms) => {
      clock.nowMs += ms;
    },
    supervisor: { clock, progress: () => {}, cancelled: () => undefined },
    dumpUuid: simUuid(1000 + seed),
    bootId: simUuid(500 + seed),
    armedDigest: new Uint8Array(32),
    ...(codec && !raw && { codec }),
    codecs: CODECS,
    crc: nodeCrc32,
    parameters: SMALL,
    windowBytes: 8 * PAGE,
    ...rest,
  });
}

/** A device with a saved dump of another crash on it; formatted again without a wipe where `reformat` says so. */
export function staleDisk(stale: SimMachine, size: number, reformat: boolean): SimDisk {
  const disk = formattedDisk(size);
  simCapture(stale, [disk], { seed: STALE_SEED });
  const label = readLabel(disk, nodeCrc32).label;
  assert.ok(label);
  const saved = writeLabelState(disk, label, { state: 'saved' }, nodeCrc32);
  if (reformat) reformatDevice(disk, saved, { wipe: 'none', crc: nodeCrc32, nowMs: 0 });
  return disk;
}

/** What may be on a device: the dump under way, and the one that was there before. */
export interface Truth {
  readonly machine: SimMachine;
  readonly dumpUuid: string;
  readonly stale: SimMachine;
  /** The capture was stopped on request: pass 0 need not be whole behind block 0. */
  readonly stopped?: boolean;
}

export interface Survey {
  readonly state: 'none' | 'partial' | 'complete';
  /** Pages of the machine that our reader gives. */
  readonly pages: number;
  /** What other tools see through block 0. */
  readonly block0: 'none' | 'stale' | 'new';
}

/** Judges the image of a device; fails on any page that is not true. */
export function surveyImage(image: Uint8Array, truth: Truth): Survey {
  const ours = openOurs(image);
  const pages = ours ? surveyOurs(ours, truth) : 0;
  return { state: ours?.state ?? 'none', pages, block0: surveyBlock0(image, truth) };
}

function openOurs(image: Uint8Array): DeviceDump | undefined {
  try {
    return openDeviceDump(bytesSource(image), { codecs: CODECS, crc: nodeCrc32 });
  } catch (error) {
    if (error instanceof NoDataError) return undefined;
    throw error;
  }
}

/** Every page that our reader gives is true; those of a generation it must give. */
function surveyOurs(dump: DeviceDump, { machine, dumpUuid }: Truth): number {
  assert.equal(formatUuid(dump.dumpUuid), dumpUuid, 'the dump is of another crash');
  const page = new Uint8Array(machine.pageSize);
  let good = 0;
  let missing = 0;
  for (const range of machine.ranges) {
    for (let pfn = range.start; pfn < range.end; pfn++) {
      const presence = dump.presence(pfn);
      if (presence !== 'stored' && presence !== 'zero') {
        missing++;
        continue;
      }
      if (readTrue(dump, machine, pfn, page)) good++;
    }
  }
  if (dump.state === 'complete') assert.equal(missing, 0, 'a complete dump lacks pages');
  const generation = dump.log.generation;
  if (generation) assert.ok(good >= generation.record.descriptorCount, `${good} pages of a generation of more`);
  return good;
}

/** False where the page is refused as damaged; fails where it is wrong. */
function readTrue(dump: Vmcore, machine: SimMachine, pfn: number, page: Uint8Array): boolean {
  try {
    dump.readPage(pfn, page);
  } catch (error) {
    if (error instanceof DumpError) return false;
    throw error;
  }
  assert.notEqual(machine.kindOf(pfn), 'unreadable', `pfn ${pfn} could not be read and is there`);
  assert.ok(sameWords(page, machine.truth(pfn)), `pfn ${pfn} is wrong`);
  return true;
}

/** What a reader of plain KDUMP files sees: nothing, or true pages only; of the new dump pass 0 whole. */
function surveyBlock0(image: Uint8Array, truth: Truth): Survey['block0'] {
  if (String.fromCharCode(...image.subarray(0, 8)) !== 'KDUMP   ') return 'none';
  const dump = openKdump(bytesSource(image), { codecs: CODECS });
  const isNew = dump.header.timestampSeconds === simCrashSeconds(truth.machine);
  const machine = isNew ? truth.machine : truth.stale;
  assert.equal(dump.header.timestampSeconds, simCrashSeconds(machine), 'block 0 is of no known crash');
  const page = new Uint8Array(machine.pageSize);
  for (const range of machine.ranges) {
    for (let pfn = range.start; pfn < range.end; pfn++) {
      if (dump.presence(pfn) === 'stored' || dump.presence(pfn) === 'zero')
        assert.ok(readTrue(dump, machine, pfn, page), `pfn ${pfn} that block 0 leads to is damaged`);
      else if (isNew && !truth.stopped && machine.kindOf(pfn) !== 'unreadable')
        assert.equal(findRange(machine.essential, pfn), -1, `pfn ${pfn} of pass 0 is missing behind block 0`);
    }
  }
  return isNew ? 'new' : 'stale';
}

function sameWords(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
