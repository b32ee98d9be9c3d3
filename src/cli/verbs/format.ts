/** `diskdump format`: makes a disk, a partition or a file a dump device. */

import { existsSync, readFileSync } from 'node:fs';
import { isDeviceError } from '../../base/device.ts';
import { DeviceError } from '../../base/errors.ts';
import { formatUuid, parseUuid } from '../../base/hex.ts';
import { BlockDevice } from '../../driver/block.ts';
import {
  BLOCK_ORDER_DEFAULT,
  type FormatPlan,
  formatDevice,
  planFormat,
  SAMPLE_RATE_DEFAULT,
} from '../../format/kdump/device-format.ts';
import {
  formatTotalBlocks,
  type MachineSize,
  requiredBytes,
  shortfallBytes,
  totalBlocks,
} from '../../format/kdump/device-size.ts';
import { GEOMETRY } from '../../format/kdump/log-layout.ts';
import { systemClock } from '../../host/clock.ts';
import { nodeCrc32 } from '../../host/codecs.ts';
import { CONFIG_PATH, loadConfig } from '../../host/config.ts';
import { probeDevice, wipeFindings } from '../../host/device-probe.ts';
import { plainMemory, readMachineMemory, readPageSize } from '../../host/machine-size.ts';
import { randomUuid } from '../../host/random.ts';
import { checkLosses, findTarget, inUse, type Target } from '../device/inspect.ts';
import { EXIT } from '../errors.ts';
import type { Io } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'format',
  text: `Makes DEVICE, a whole disk, a partition or a file, a dump device: a label at its end, and signatures in blocks all over it,
by which stage 1 knows at panic that it may write there. Takes a moment, whatever the size.

What lies on the device is looked for first. A file system, a partition table, a member of an array, swap space or an unsaved
dump is refused by name; --force destroys it, and says what it was. What is mounted or otherwise in use is never formatted.

A device smaller than memory is accepted: the dump then ends where the device does, the most important pages first.

The exit code is 1 where the device is refused.`,
  examples: [
    { command: 'format /dev/vdb', brief: 'a whole disk' },
    { command: 'format --dry-run /dev/sda3', brief: 'what is there, and would it be large enough' },
    { command: 'format --force --wipe discard /dev/nvme0n1p4', brief: 'destroy what is there, and tell the disk so' },
  ],
  flags: {
    force: flag.switch('destroy what is on the device'),
    dryRun: flag.switch('look, plan and print; write nothing'),
    full: flag.switch('sign every block; writes the whole device'),
    sampleRate: flag.integer('2^N blocks are signed and checked, 0 for all (needs --full); default 8', { max: 30 }),
    blockOrder: flag.integer('a full check reads 2^N blocks at a time; default 2', { max: 8 }),
    logArea: flag.size('room for the kernel log alone, where nothing else works; default 16M'),
    signatureAdd: flag.choice(
      ['7', '3'],
      'constant of the signatures: 7 as kernels have it (default), 3 as the white paper',
    ),
    forRam: flag.size('plan for a machine with this much memory; default: this one'),
    wipe: flag.choice(['discard', 'none'], 'tell the disk first that nothing on it is needed; default none'),
    config: flag.text(`configuration with defaults for these; default ${CONFIG_PATH}`, { placeholder: 'FILE' }),
  },
  positionals: [{ name: 'DEVICE', brief: 'a disk, a partition or a file' }],
  async run(flags, [path], io) {
    const begun = io.clock.monotonicMs();
    const target = findTarget(path as string);
    const device = openTarget(target, !flags.dryRun);
    try {
      const { contents, losses } = checkLosses(device, flags.force || flags.dryRun);
      const memory = flags.forRam === undefined ? readMachineMemory() : plainMemory(flags.forRam, readPageSize());
      const shape = await parameters(flags);
      const plan = planFormat(device, {
        uuid: randomUuid(),
        nowMs: Math.floor(systemClock.wallMs()),
        machineId: readMachineId(),
        full: flags.full,
        signatureAdd: flags.signatureAdd === '3' ? 3 : 7,
        ...shape,
        requiredBytes: requiredBytes(memory, { blockSize: device.blockSize, ...shape }),
      });
      if (!flags.dryRun) write(device, plan, flags.wipe === 'discard', io);
      const seconds = (io.clock.monotonicMs() - begun) / 1000;
      if (contents.label) noteLabel(device.name, contents.label.uuid, flags.dryRun, io);
      if ('from' in memory && memory.from === 'MemTotal') io.note(MEMORY_GUESSED);
      report({ device, plan, machine: memory, losses, dryRun: flags.dryRun, seconds }, io);
      return EXIT.done;
    } finally {
      device.shutdown();
    }
  },
});

function noteLabel(name: string, uuid: string, dryRun: boolean, io: Io): void {
  io.note(
    dryRun
      ? `${name} is the dump device ${uuid} now: its label would be replaced`
      : `${name} was the dump device ${uuid} before: arm the machine again`,
  );
}

const MEMORY_GUESSED =
  'the memory map is not visible (/proc/iomem shows it to root only): planned for MemTotal, which is somewhat less than a dump takes';

interface ParameterFlags {
  readonly sampleRate?: number | undefined;
  readonly blockOrder?: number | undefined;
  readonly logArea?: number | undefined;
  readonly config?: string | undefined;
}

/** The command line, else the configuration where there is one, else the white paper. */
async function parameters(
  flags: ParameterFlags,
): Promise<{ sampleRate: number; blockOrder: number; logAreaBytes: number }> {
  const configured =
    flags.config !== undefined || existsSync(CONFIG_PATH) ? (await loadConfig(flags.config)).config : undefined;
  return {
    sampleRate: flags.sampleRate ?? configured?.sampleRate ?? SAMPLE_RATE_DEFAULT,
    blockOrder: flags.blockOrder ?? configured?.blockOrder ?? BLOCK_ORDER_DEFAULT,
    logAreaBytes: flags.logArea ?? configured?.logAreaBytes ?? GEOMETRY.logAreaDefault,
  };
}

/** Opens with O_EXCL in any case: that is the last word on whether somebody uses the device. */
function openTarget({ path, block }: Target, writable: boolean): BlockDevice {
  try {
    const device = BlockDevice.open(path, { writable, exclusive: true });
    device.sanityCheck();
    return device;
  } catch (error) {
    if (isDeviceError(error) && error.failure.errno === 'EBUSY')
      throw inUse(path, ['the kernel holds it (opening it alone: EBUSY)']);
    if (isDeviceError(error) && error.failure.errno === 'EACCES' && !block)
      throw new DeviceError(error.code, error.message, error.failure, 'this user may not write that file', error);
    throw error;
  }
}

/** Tables of the old contents that come to light when those in front of them are gone. */
const WIPE_ROUNDS_MAX = 8;

function write(device: BlockDevice, plan: FormatPlan, discard: boolean, io: Io): void {
  device.quiesce();
  if (discard && !device.discard(0, device.size)) io.note(`${device.name} takes no discards`);
  for (let round = 0; round < WIPE_ROUNDS_MAX; round++) {
    const { findings } = probeDevice(device);
    if (findings.length === 0) break;
    wipeFindings(device, findings);
  }
  const progress = io.progress({ label: 'signing', unit: 'blocks', total: plan.blocks });
  formatDevice(device, plan, { crc: nodeCrc32, progress: (blocks) => progress.update(blocks) });
  progress.stop();
  device.rereadPartitions();
}

interface Outcome {
  readonly device: BlockDevice;
  readonly plan: FormatPlan;
  readonly machine: MachineSize;
  readonly losses: readonly string[];
  readonly dryRun: boolean;
  readonly seconds: number;
}

function report({ device, plan, machine, losses, dryRun, seconds }: Outcome, io: Io): void {
  const shape = { blockSize: device.blockSize, logAreaBytes: plan.geometry.logAreaBytes };
  const shortfall = shortfallBytes(device.size, machine, shape);
  const line = formatTotalBlocks(totalBlocks(machine, shape));
  if (io.json) {
    io.document({
      schema: 'diskdump.format/1',
      device: device.name,
      uuid: formatUuid(plan.identity.uuid),
      sizeBytes: device.size,
      capacityBytes: plan.geometry.capacity,
      sampleRate: plan.identity.sampleRate,
      layout: 'log',
      ...(losses.length > 0 && { destroyed: losses }),
      blockOrder: plan.identity.blockOrder,
      logAreaBytes: plan.geometry.logAreaBytes,
      signedBlocks: plan.blocks,
      totalBlocks: totalBlocks(machine, shape),
      shortfallBytes: shortfall,
      dryRun,
      seconds,
    });
  } else {
    io.print(line);
    if (shortfall > 0)
      io.print(
        `short by ${formatBytes(shortfall)} (${shortfall} bytes) of a dump of all memory: the dump ends where it is full`,
      );
    if (losses.length > 0) io.print(`${dryRun ? 'would destroy' : 'destroyed'}: ${losses.join(', ')}`);
    const needsForce = losses.length > 0 ? ' with --force' : '';
    const done = dryRun
      ? `would be formatted${needsForce}`
      : `is a dump device, label ${formatUuid(plan.identity.uuid)}`;
    io.print(`${device.name} ${done}: ${formatBytes(device.size)}, ${plan.blocks} blocks signed`);
  }
  if (device.size > GEOMETRY.dataEnd) io.note(`${device.name} is larger than 8 TiB: a dump uses it up to there`);
}

/** 16 bytes of /etc/machine-id, zeros where there is none. */
function readMachineId(): Uint8Array {
  try {
    return parseUuid(readFileSync('/etc/machine-id', 'utf8').trim()) ?? new Uint8Array(16);
  } catch {
    return new Uint8Array(16);
  }
}
