/** The configuration in the words of `/proc/diskdump`, for scripts that read it. */

import { basename } from 'node:path';
import { totalBlocks } from '../../format/kdump/device-size.ts';
import { readBlockDevice } from '../../host/block-devices.ts';
import { type Config, loadConfig } from '../../host/config.ts';
import { readMachineMemory } from '../../host/machine-size.ts';
import { type InspectedDevice, inspectDevices } from './devices.ts';

/** A registered device in sectors of 512 bytes. */
export interface ProcDevice {
  readonly name: string;
  readonly startSector: number;
  readonly sectorCount: number;
}

const SECTOR = 512;

/** Reads configuration, devices and memory. */
export async function procLines(options: { readonly config?: string }): Promise<string[]> {
  const { config } = await loadConfig(options.config);
  const devices = inspectDevices(config.devices).filter(({ label }) => label);
  const label = devices[0]?.label?.identity;
  const shape = {
    blockSize: label?.logicalBlock ?? SECTOR,
    logAreaBytes: label?.logAreaBytes ?? config.logAreaBytes,
  };
  return formatProc(config, devices.map(procDevice), totalBlocks(readMachineMemory(), shape).total);
}

/**
 * The lines, as the RHEL 4 module printed them.
 *
 * @param blocks pages that a dump of all memory takes on a device: the number that `diskdump format` prints, as the module
 *   printed one number in both places. It is larger than the module's: two bitmaps twice, tables, log area and labels.
 */
export function formatProc(config: Config, devices: readonly ProcDevice[], blocks: number): string[] {
  const values = {
    sample_rate: config.sampleRate,
    block_order: config.blockOrder,
    fallback_on_err: 1,
    halt_on_err: config.finalAction === 'halt' ? 1 : 0,
    allow_risky_dumps: 1,
    dump_level: 1,
    compress: config.compress === 'none' ? 0 : 1,
    total_blocks: blocks,
  };
  return [
    ...Object.entries(values).map(([key, value]) => `# ${key}: ${value}`),
    '#',
    ...devices.map(({ name, startSector, sectorCount }) => `${name} ${startSector} ${sectorCount}`),
  ];
}

function procDevice({ path, label }: InspectedDevice): ProcDevice {
  return {
    name: readBlockDevice(path)?.name ?? basename(path),
    startSector: label!.identity.start / SECTOR,
    sectorCount: Math.floor(label!.identity.deviceSize / SECTOR),
  };
}
