/** Opens the device and counts its pages, as `info` does. */

import { openDeviceDump } from '../../src/format/kdump/device-vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { ComparingDevice } from './comparing-device.ts';
import type { Step } from './run.ts';

export const step: Step = (directory, size) => {
  const device = new ComparingDevice(directory, size);
  const dump = openDeviceDump(device, { codecs: nodeCodecs(), crc: nodeCrc32 });
  const { present, stored, zero } = dump.countPages();
  return { state: dump.state, present, stored, zero };
};
