/** Formats the comparing device and captures the big machine to it. */

import { capture, fixedFinder } from '../../src/capture/capture.ts';
import { formatDevice, planFormat } from '../../src/format/kdump/device-format.ts';
import { WRITER_PARAMETERS } from '../../src/format/kdump/log-parameters.ts';
import { EMPTY_UTSNAME } from '../../src/format/utsname.ts';
import { systemClock } from '../../src/host/clock.ts';
import { nodeCodecs, nodeCrc32 } from '../../src/host/codecs.ts';
import { BIG_ESSENTIAL, bigMachine } from './big-machine.ts';
import { ComparingDevice } from './comparing-device.ts';
import type { Step } from './run.ts';

export const step: Step = (directory, size) => {
  const device = new ComparingDevice(directory, size);
  const plan = planFormat(device, { uuid: new Uint8Array(16).fill(1), nowMs: 0, logAreaBytes: 65536 });
  formatDevice(device, plan, { crc: nodeCrc32 });
  const { outcome, pages } = capture({
    machine: bigMachine(),
    facts: { utsname: EMPTY_UTSNAME, physBase: 0, crashSeconds: 1 },
    essential: BIG_ESSENTIAL,
    devices: [{ name: 'comparing' }],
    finder: fixedFinder(new Map([['comparing', [device]]])),
    wait: () => {},
    supervisor: { clock: systemClock, progress: () => {}, cancelled: () => undefined },
    dumpUuid: new Uint8Array(16).fill(2),
    bootId: new Uint8Array(16),
    armedDigest: new Uint8Array(32),
    codecs: nodeCodecs(),
    crc: nodeCrc32,
    // Enough for generations inside the second pass.
    parameters: { ...WRITER_PARAMETERS, generationShare: 0.2 },
  });
  return { outcome, pages, compared: device.compared };
};
