/** Opens the device, proves its tables, and reads every page, as `check` does. */

import { openDeviceDump } from '../../src/format/kdump/device-vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { ComparingDevice } from './comparing-device.ts';
import type { Step } from './run.ts';

export const step: Step = (directory, size) => {
  const device = new ComparingDevice(directory, size);
  const dump = openDeviceDump(device, { codecs: nodeCodecs(), crc: nodeCrc32, verify: true });
  const page = new Uint8Array(dump.pageSize);
  let pages = 0;
  for (const run of dump.walkPages()) for (let pfn = run.start; pfn < run.end; pfn++, pages++) dump.readPage(pfn, page);
  return { state: dump.state, pages };
};
