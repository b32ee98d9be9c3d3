/** Devices with captured dumps, and a store to save them to, for the tests of stage 2. */

import assert from 'node:assert/strict';
import { ManualClock } from '../../src/base/clock.ts';
import { crc32 } from '../../src/base/crc32.ts';
import type { DumpDevice } from '../../src/base/device.ts';
import { DumpError } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/base/random.ts';
import { type CaptureResult, capture, fixedFinder } from '../../src/capture/capture.ts';
import { silentSupervisor } from '../../src/capture/supervisor.ts';
import { CODEC_FLAG } from '../../src/codec/codec.ts';
import { formatDevice, planFormat } from '../../src/format/kdump/device-format.ts';
import { openDeviceDump } from '../../src/format/kdump/device-vmcore.ts';
import { type DeviceState, readLabel, writeLabelState } from '../../src/format/kdump/label.ts';
import { openKdump } from '../../src/format/kdump/reader.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs } from '../../src/host/codecs.ts';
import { readInfo } from '../../src/savecore/directory.ts';
import type { SaveOptions } from '../../src/savecore/options.ts';
import { type SaveOutcome, save } from '../../src/savecore/save.ts';
import { SimDisk } from '../sim/sim-disk.ts';
import { PAGE, type SimMachine, simMachine } from '../sim/sim-machine.ts';
import type { MemoryStore } from './memory-store.ts';

export const CAPTURE_BOOT = new Uint8Array(16).fill(7);
export const NEXT_BOOT = new Uint8Array(16).fill(8);
/** CRASHTIME of the simulated machine. */
export const CRASH_SECONDS = 1780000000;

export function formattedDisk(seed: number, serial = `SIM${seed}`): SimDisk {
  const location = { start: 0, serial };
  const disk = new SimDisk({ name: `disk${seed}`, image: new Uint8Array(4 * 2 ** 20), location });
  const uuid = new Uint8Array(16).fill(seed);
  formatDevice(disk, planFormat(disk, { uuid, nowMs: 1, logAreaBytes: 65536, sampleRate: 3 }));
  disk.journal.length = 0;
  return disk;
}

export interface CaptureChoices {
  readonly crashSeconds?: number;
  readonly dump?: number;
  readonly codec?: boolean;
}

export function captureTo(
  machine: SimMachine,
  devices: readonly DumpDevice[],
  choices: CaptureChoices = {},
): CaptureResult {
  const clock = new ManualClock();
  const codecs = nodeCodecs();
  const zlib = codecs.get(CODEC_FLAG.zlib)!;
  return capture({
    machine,
    facts: { utsname: UTSNAME, physBase: 0, crashSeconds: choices.crashSeconds ?? CRASH_SECONDS },
    essential: machine.essential,
    devices: devices.map((device) => ({ name: device.name })),
    finder: fixedFinder(new Map(devices.map((device) => [device.name, [device]]))),
    wait: (ms) => {
      clock.nowMs += ms;
    },
    supervisor: silentSupervisor(clock),
    dumpUuid: new Uint8Array(16).fill(choices.dump ?? 1),
    bootId: CAPTURE_BOOT,
    armedDigest: new Uint8Array(32),
    ...(choices.codec ? { codec: zlib } : {}),
    codecs,
    crc: crc32,
  });
}

const UTSNAME = {
  sysname: 'Linux',
  nodename: 'sim',
  release: '6.1.0-sim',
  version: '#1',
  machine: 'x86_64',
  domainname: '',
};

export function saveFrom(
  devices: readonly SimDisk[],
  store: MemoryStore,
  options: Partial<SaveOptions> = {},
): SaveOutcome {
  return save(
    devices.map((device) => ({ device })),
    saveOptions(store, options),
  );
}

export function saveOptions(store: MemoryStore, options: Partial<SaveOptions> = {}): SaveOptions {
  return {
    store,
    codecs: nodeCodecs(),
    clock: new ManualClock(),
    bootId: NEXT_BOOT,
    wipe: 'none',
    writtenBy: 'test',
    ...options,
  };
}

/** A machine all of whose pages can be read. */
export function readableMachine(seed: number): SimMachine {
  const machine = simMachine(seed);
  const random = seededRandom(seed);
  const filled = new Map<number, Uint8Array>();
  const truth = (pfn: number): Uint8Array => {
    if (machine.kindOf(pfn) !== 'unreadable') return machine.truth(pfn);
    const page = filled.get(pfn) ?? new Uint8Array(PAGE).fill(1 + (random.u32() % 255));
    filled.set(pfn, page);
    return page;
  };
  return {
    ...machine,
    kindOf: (pfn) => (machine.kindOf(pfn) === 'unreadable' ? 'compressible' : machine.kindOf(pfn)),
    truth,
    read(pfn, target) {
      for (let at = 0; at < target.length; at += PAGE) target.set(truth(pfn + at / PAGE), at);
    },
  };
}

export function pagesOf(machine: SimMachine): number[] {
  return machine.ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
}

/** Every readable page is in the saved vmcore and right; the others are not there. */
export function assertHolds(
  store: MemoryStore,
  directory: string,
  machine: SimMachine,
  struck = new Set<number>(),
): void {
  const info = readInfo(store, directory);
  assert.equal(info?.whole, true);
  const vmcore = openSaved(store, directory);
  const page = new Uint8Array(PAGE);
  for (const pfn of pagesOf(machine)) {
    if (machine.kindOf(pfn) === 'unreadable' || struck.has(pfn)) {
      assert.throws(() => vmcore.readPage(pfn, page), { name: 'NoDataError' });
    } else {
      vmcore.readPage(pfn, page);
      assert.deepEqual(page, machine.truth(pfn), `page ${pfn}`);
    }
  }
}

export function openSaved(store: MemoryStore, directory: string) {
  return openKdump(store.open(`${directory}/vmcore`), { codecs: nodeCodecs() });
}

export function directoryOf(dir: string): string {
  return dir.slice('memory-store/'.length);
}

export function stateOf(disk: SimDisk): DeviceState | undefined {
  return readLabel(disk).label?.state.state;
}

export function markInUse(disk: SimDisk, bootId: Uint8Array): void {
  const { label } = readLabel(disk);
  writeLabelState(disk, label!, { state: 'inUse', dumpUuid: new Uint8Array(16).fill(9), part: 1, bootId });
  assert.throws(() => openDeviceDump(disk, { codecs: nodeCodecs() }), { code: 'DEVICE_NO_DUMP' });
}

/** Clears the nth set bit of the bitmap at `offset`. */
export function clearBit(bytes: Uint8Array, offset: number, nth: number): void {
  let seen = 0;
  for (let bit = 0; ; bit++) {
    const at = offset + (bit >> 3);
    if ((bytes[at]! & (1 << (bit & 7))) === 0 || seen++ !== nth) continue;
    bytes[at]! &= ~(1 << (bit & 7));
    return;
  }
}

/** Every page reads right or not at all. */
export function assertNoWrongPage(vmcore: Vmcore, machine: SimMachine): void {
  const page = new Uint8Array(PAGE);
  for (const pfn of pagesOf(machine)) {
    try {
      vmcore.readPage(pfn, page);
    } catch (error) {
      assert.ok(error instanceof DumpError, String(error));
      continue;
    }
    assert.deepEqual(page, machine.truth(pfn), `page ${pfn} of ${vmcore.name}`);
  }
}

export function findBytes(haystack: Uint8Array, needle: Uint8Array): number {
  const at = Buffer.from(haystack.buffer, haystack.byteOffset, haystack.length).indexOf(needle);
  assert.ok(at > 0);
  return at;
}
