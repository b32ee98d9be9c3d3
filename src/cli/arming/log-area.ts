/** What the capture kernel's fallback needs to save the kernel log alone: header, ranges, and each device's place. */

import { randomBytes } from 'node:crypto';
import { DumpError } from '../../base/errors.ts';
import { encodeIdentity, labelGeometry } from '../../format/kdump/label.ts';
import { encodeLogAreaHeader, type LogMemory, type LogRange, planLogArea } from '../../format/kdump/log-area.ts';
import { nodeCrc32 } from '../../host/codecs.ts';
import { LiveKernelMemory } from '../../host/kcore.ts';
import { findLogRings } from '../../kernel/log-rings.ts';
import { findPrintkLayout } from '../../kernel/printk-layout.ts';
import { parseVmcoreinfo } from '../../kernel/vmcoreinfo.ts';
import type { InspectedDevice } from './devices.ts';
import type { Problem } from './machine.ts';

/** Files for the initramfs, and for how many devices. */
export interface LogAreaParts {
  readonly files: readonly { readonly path: string; readonly bytes: Uint8Array }[];
  readonly devices: number;
  readonly problems: readonly Problem[];
}

/** The log rings of a kernel and what names them. */
export interface LogMemoryMap {
  readonly release: string;
  readonly vmcoreinfo: Uint8Array;
  readonly memory: readonly LogMemory[];
}

const FOLDER = 'etc/diskdump/log-area';
/** x86-64; a kernel with larger pages rounds further out, which does no harm. */
const PAGE_BYTES = 4096;

/** Parts for the running kernel. A kernel whose log cannot be found is a warning: the dump does not depend on it. */
export function prepareLogArea(devices: readonly InspectedDevice[], release: string): LogAreaParts {
  try {
    return planParts(devices, readLiveLog(release));
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    return { files: [], devices: 0, problems: [warning(`the kernel log alone cannot be saved: ${error.message}`)] };
  }
}

/** Parts for a kernel whose log is known. */
export function planParts(devices: readonly InspectedDevice[], log: LogMemoryMap): LogAreaParts {
  const labels = devices.flatMap(({ path, label }) => (label ? [{ path, label }] : []));
  const largest = Math.max(0, ...labels.map(({ label }) => label.identity.logAreaBytes));
  const ranges = planLogArea(log.memory, PAGE_BYTES, largest);
  const header = encodeLogAreaHeader(
    {
      armId: randomBytes(16),
      pageSize: PAGE_BYTES,
      release: log.release,
      vmcoreinfo: log.vmcoreinfo,
      armedMs: Date.now(),
      ranges,
    },
    nodeCrc32,
  );
  const files: { path: string; bytes: Uint8Array }[] = [
    { path: `${FOLDER}/header`, bytes: header },
    { path: `${FOLDER}/ranges`, bytes: text(ranges.map(rangeLine)) },
  ];
  const problems: Problem[] = [];
  const needed = Math.max(0, ...ranges.map(({ offset, length }) => offset + length));
  let fitting = 0;
  for (const { path, label } of labels) {
    const { identity } = label;
    if (identity.logAreaBytes < needed) {
      problems.push(
        warning(`${path}: its log area has ${identity.logAreaBytes} bytes, the kernel log takes ${needed}`),
      );
      continue;
    }
    const folder = `${FOLDER}/device-${++fitting}`;
    const { labelOffset, logAreaOffset } = labelGeometry(identity);
    const place = [
      `SIZE=${identity.deviceSize}`,
      `START=${identity.start}`,
      `LABEL=${labelOffset}`,
      `AREA=${logAreaOffset}`,
    ];
    files.push({ path: `${folder}/place`, bytes: text(place) });
    files.push({ path: `${folder}/identity`, bytes: encodeIdentity(identity, nodeCrc32) });
  }
  return { files, devices: fitting, problems };
}

function readLiveLog(release: string): LogMemoryMap {
  const memory = LiveKernelMemory.open();
  try {
    const vmcoreinfo = memory.readVmcoreinfo();
    const rings = findLogRings(memory, findPrintkLayout(parseVmcoreinfo(vmcoreinfo)));
    const named = rings.map(({ part, vaddr, paddr, length }): LogMemory => ({ name: part, vaddr, paddr, length }));
    return { release, vmcoreinfo, memory: named };
  } finally {
    memory.close();
  }
}

function rangeLine({ paddr, length, offset }: LogRange): string {
  return `${paddr} ${length} ${offset}`;
}

function text(lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode(`${lines.join('\n')}\n`);
}

function warning(words: string): Problem {
  return { code: 'LOG_AREA', level: 'warning', text: words };
}
