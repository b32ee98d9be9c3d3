/** The configuration in the words of `/proc/diskdump`, for scripts that read it. */

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { readBlockDevice } from '../../host/block-devices.ts';
import { type Config, loadConfig } from '../../host/config.ts';
import { type InspectedDevice, inspectDevices } from './devices.ts';

/** What the module counted: pages of the machine. */
export interface MemoryPages {
  /** Pages of RAM. */
  readonly count: number;
  /** One more than the highest pfn. */
  readonly end: number;
}

/** A registered device in sectors of 512 bytes. */
export interface ProcDevice {
  readonly name: string;
  readonly startSector: number;
  readonly sectorCount: number;
}

const PAGE_BYTES = 4096;
const SECTOR = 512;
/** Blocks before the bitmap: signature page, header, sub header. */
const HEADER_BLOCKS = 3;

/** Reads configuration, devices and memory. */
export async function procLines(options: { readonly config?: string }): Promise<string[]> {
  const { config } = await loadConfig(options.config);
  const devices = inspectDevices(config.devices);
  return formatProc(config, devices.filter(({ label }) => label).map(procDevice), readMemoryPages());
}

/**
 * The lines, as the RHEL 4 module printed them. `total_blocks` counts header, one bitmap and all of memory.
 * Source: spec of the formats, §1.11.
 */
export function formatProc(config: Config, devices: readonly ProcDevice[], memory: MemoryPages): string[] {
  const bitmapBlocks = Math.ceil(memory.end / 8 / PAGE_BYTES);
  const values = {
    sample_rate: config.sampleRate,
    block_order: config.blockOrder,
    fallback_on_err: 1,
    halt_on_err: config.finalAction === 'halt' ? 1 : 0,
    allow_risky_dumps: 1,
    dump_level: 1,
    compress: config.compress === 'none' ? 0 : 1,
    total_blocks: HEADER_BLOCKS + bitmapBlocks + memory.count,
  };
  return [
    ...Object.entries(values).map(([key, value]) => `# ${key}: ${value}`),
    '#',
    ...devices.map(({ name, startSector, sectorCount }) => `${name} ${startSector} ${sectorCount}`),
  ];
}

/** System RAM by /proc/iomem; by /proc/meminfo where addresses are hidden. */
export function readMemoryPages(root = ''): MemoryPages {
  let [count, end] = [0, 0];
  for (const line of readFileSync(`${root}/proc/iomem`, 'utf8').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) : System RAM$/.exec(line);
    if (!match) continue;
    const [first, last] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
    count += Math.floor((last + 1) / PAGE_BYTES) - Math.ceil(first / PAGE_BYTES);
    end = Math.max(end, Math.floor((last + 1) / PAGE_BYTES));
  }
  if (end > 0) return { count, end };
  const total = /^MemTotal:\s+(\d+) kB/m.exec(readFileSync(`${root}/proc/meminfo`, 'utf8'));
  const pages = Math.floor((Number(total?.[1] ?? 0) * 1024) / PAGE_BYTES);
  return { count: pages, end: pages };
}

function procDevice({ path, label }: InspectedDevice): ProcDevice {
  return {
    name: readBlockDevice(path)?.name ?? basename(path),
    startSector: label!.identity.start / SECTOR,
    sectorCount: Math.floor(label!.identity.deviceSize / SECTOR),
  };
}
