/** `diskdump capture`: writes the memory of a machine to a dump device. */

import { UsageError } from '../../base/errors.ts';
import { type CaptureResult, capture } from '../../capture/capture.ts';
import type { DeviceFinder } from '../../capture/select.ts';
import type { Supervisor } from '../../capture/supervisor.ts';
import { CODEC_FLAG } from '../../codec/codec.ts';
import { ThreadedDevice } from '../../driver/threaded.ts';
import { nodeCodecs, nodeCrc32 } from '../../host/codecs.ts';
import { readKernelBinaries } from '../../host/kernel-binaries.ts';
import { randomUuid } from '../../host/random.ts';
import { openMachine } from '../device/open-machine.ts';
import { EXIT } from '../errors.ts';
import type { Io } from '../output.ts';
import { formatBytes, formatDuration, type Progress } from '../progress.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'capture',
  text: `Writes the memory of MACHINE to the first of the devices that is a sane dump device, as stage 1 does at panic: label,
signatures and state are checked first, and nothing but a dump device of ours is ever written. After an error in mid-dump
the next device gets the dump anew. A device that is full is no error: the dump is closed there as a partial one, the most
important pages first, and no other device is tried.

MACHINE is vmcore:/proc/vmcore (the crashed kernel, seen from its capture kernel), or a dump file or device.`,
  examples: [
    { command: 'capture vmcore:/proc/vmcore --to /dev/vdb', brief: 'by hand in a capture kernel' },
    { command: 'capture vmcore --to disk.img', brief: 'a dump file onto a formatted device, for a trial' },
  ],
  flags: {
    to: flag.list('dump devices, in order of preference', { placeholder: 'DEVICE', required: true }),
    compress: flag.choice(['none', 'zlib', 'zstd'], 'codec of the pages; default none'),
    deadline: flag.duration(
      'give a device up that does not answer for so long: 500ms, 25s, 2m; a plain number is seconds; default 25s',
    ),
  },
  positionals: [{ name: 'MACHINE', brief: 'what to dump' }],
  run(flags, [name], io) {
    if (flags.to.length === 0)
      throw new UsageError('CAPTURE_NO_DEVICE', 'capture: no device is given', {}, 'name one with --to DEVICE');
    const { machine, bootId, facts, essential, remarks, close } = openMachine(name as string);
    try {
      for (const remark of remarks) io.detail(remark);
      const codecs = nodeCodecs();
      const codec = flags.compress && flags.compress !== 'none' ? codecs.get(CODEC_FLAG[flags.compress]) : undefined;
      const total = machine.ranges.reduce((sum, { start, end }) => sum + (end - start) * machine.pageSize, 0);
      const progress = io.progress({ label: 'capturing', unit: 'bytes', total });
      const resumable = bootId.some((byte) => byte !== 0);
      const result = capture({
        machine,
        facts,
        essential,
        devices: flags.to.map((path) => ({ name: path })),
        finder: openingFinder(flags.deadline),
        deviceWaitMs: 0,
        wait: () => {},
        supervisor: progressSupervisor(progress, machine.pageSize, io),
        dumpUuid: resumable ? bootId : randomUuid(),
        bootId,
        resume: resumable,
        armedDigest: new Uint8Array(32),
        ...(codec && { codec }),
        codecs,
        crc: nodeCrc32,
        kernels: readKernelBinaries(),
        tell: (event) => io.detail(event),
      });
      progress.stop();
      report(result, io);
      return result.state === 'none' ? EXIT.device : result.outcome === 'complete' ? EXIT.done : EXIT.partial;
    } finally {
      close();
    }
  },
});

/** Opens the device of an entry by its name, when it is looked for. */
function openingFinder(deadlineMs: number | undefined): DeviceFinder {
  const options = deadlineMs === undefined ? {} : { deadlineMs };
  return { find: ({ name }) => [ThreadedDevice.open(name, options)] };
}

function progressSupervisor(progress: Progress, pageSize: number, io: Io): Supervisor {
  return {
    clock: io.clock,
    progress: (state) => progress.update(state.storedPages * pageSize, state.pass || state.phase),
    cancelled: () => undefined,
  };
}

/** Why a device was not taken, and what would change that. The reason names the device where it can. */
function reportRefusal({ device, code, message }: CaptureResult['refused'][number], io: Io): void {
  io.note(`passed over: ${message.includes(device) ? message : `${device}: ${message}`}`);
  const hint = REFUSAL_HINTS[code]?.(device, message);
  if (hint !== undefined) io.note(`hint: ${hint}`);
}

const FORMAT_AGAIN = (device: string): string =>
  `\`diskdump check ${device}\` says more; \`diskdump format ${device}\` makes it a dump device anew`;

const OPEN_HINT = 'is the path right, is the disk there?';

const OPEN_HINTS = [
  { sign: 'EBUSY', hint: 'another program holds it: a capture, save or format that is still running, or a mount' },
  { sign: 'EACCES', hint: 'try again as root, or with a device that you may write' },
  { sign: 'EPERM', hint: 'try again as root, or with a device that you may write' },
] as const;

const REFUSAL_HINTS: Readonly<Record<string, (device: string, message: string) => string>> = {
  DEVICE_NOT_OURS: (device) =>
    `\`diskdump check ${device}\` says what is on it, \`diskdump format ${device}\` makes it a dump device`,
  DEVICE_OPEN: (_device, message) => OPEN_HINTS.find(({ sign }) => message.includes(sign))?.hint ?? OPEN_HINT,
  DEVICE_UNSAVED: (device) => `\`diskdump save ${device}\` saves that dump and makes the device free`,
  DEVICE_IDENTITY: FORMAT_AGAIN,
  DEVICE_FOREIGN_DATA: FORMAT_AGAIN,
  DEVICE_SIGNATURE: FORMAT_AGAIN,
  DEVICE_UUID_TWICE: (device) =>
    `one is a copy of the other: \`diskdump format --force ${device}\` gives it a label of its own`,
};

function report(result: CaptureResult, io: Io): void {
  for (const refusal of result.refused) reportRefusal(refusal, io);
  if (io.json) {
    io.document(result);
    return;
  }
  const { outcome, device, pages, plannedPages, holes, bytes, seconds, reason } = result;
  if (outcome === 'no-device') {
    io.print('no dump: none of the devices could be used');
    return;
  }
  const time = formatDuration(seconds * 1000);
  io.print(
    `${device ?? 'no device'}: ${outcome} dump, ${pages} of ${plannedPages} pages, ${formatBytes(bytes)} in ${time}`,
  );
  // The reason of a partial dump counts them itself.
  if (holes > 0 && !reason?.includes('could not be read')) io.print(`  ${holes} pages could not be read`);
  if (reason !== undefined) io.print(`  ${reason}`);
}
