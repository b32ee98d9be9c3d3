/** `diskdump save`: stage 2, from the dump devices to the save directory. */

import packageData from '../../../package.json' with { type: 'json' };
import { DeviceError, DumpError, RefusedError, UsageError } from '../../base/errors.ts';
import { ThreadedDevice } from '../../driver/threaded.ts';
import { readBootId } from '../../host/boot-id.ts';
import { systemClock } from '../../host/clock.ts';
import { nodeCodecs, nodeCrc32 } from '../../host/codecs.ts';
import { CONFIG_PATH, loadConfig } from '../../host/config.ts';
import { lockSaveStore, openSaveStore } from '../../host/save-store.ts';
import type { SaveRecord } from '../../savecore/record.ts';
import { type SaveDevice, type SaveOutcome, saveSteps } from '../../savecore/save.ts';
import { dropCached } from '../../sys/file.ts';
import { EXIT, exitCodeOf, formatError, formatErrorDocument } from '../errors.ts';
import { exitCodeOfSignal, Interrupt } from '../interrupt.ts';
import { escapeControls, type Io } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { runSteps, StepProgress } from '../save-steps.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'save',
  text: `Brings dumps from their devices to safety, as savecore does after a reboot.

Each dump becomes a directory 127.0.0.1-DATE with the vmcore (which crash, drgn and makedumpfile read), the kernel log in
vmcore-dmesg.txt, and info.json. Every page is proved by the checksum that was taken at the panic, once while it is copied and
once more from the finished file. Only then the device is marked saved and formatted anew. A dump that is not whole is saved as
partial, and says what it has. Running it again is harmless.

Without DEVICE, the devices of ${CONFIG_PATH} are looked at. One of these that is not there or carries no label is
a warning; one that is named on the command line an error. Interrupted, it leaves the dump where it is, and the exit code is 130.`,
  examples: [
    { command: 'save', brief: 'what the configured devices hold' },
    { command: 'save /dev/vdb --to /srv/crash', brief: 'from this device to that directory' },
    { command: 'save --keep', brief: 'copy only: leave the devices as they are' },
  ],
  flags: {
    to: flag.text('directory of crash directories; default: save.directory of the configuration', {
      placeholder: 'DIRECTORY',
    }),
    wipe: flag.choice(['discard', 'zero', 'none'], 'what becomes of the old data when a device is formatted anew'),
    keep: flag.switch('copy, and leave the devices as they are'),
    config: flag.text('configuration file', { placeholder: 'FILE' }),
  },
  positionals: [{ name: 'DEVICE', brief: 'a dump device', count: 'many' }],
  async run(flags, positionals, io) {
    const { config, path } = await loadConfig(flags.config);
    const named = positionals.length > 0;
    const paths = named ? positionals : config.devices;
    if (paths.length === 0) {
      throw new UsageError(
        'SAVE_NO_DEVICE',
        `save: no device is given, and ${path ?? CONFIG_PATH} names none`,
        {},
        'name one: `diskdump save DEVICE`, or list it under `devices` in the configuration',
      );
    }
    const directory = flags.to ?? config.save.directory;
    const unlock = lockSaveStore(directory);
    const { devices, problems } = openDevices(paths, !flags.keep);
    const interrupt = new Interrupt();
    const show = new StepProgress(io);
    try {
      const steps = saveSteps(devices, {
        store: openSaveStore(directory, dropCached),
        codecs: nodeCodecs(),
        crc: nodeCrc32,
        clock: systemClock,
        bootId: readBootId(),
        wipe: flags.wipe ?? config.wipe,
        keep: flags.keep,
        writtenBy: `diskdump ${packageData.version}`,
        stopped: () => interrupt.signal !== undefined,
        served: () => show.served(),
      });
      const outcome = await runSteps(steps, interrupt, show);
      const all = [...problems, ...outcome.problems];
      const harmless = named ? [] : all.filter(({ error }) => isNoDumpDevice(error));
      for (const { error } of harmless) warnOf(error, path ?? CONFIG_PATH, io);
      const code = report(
        { ...outcome, problems: all.filter((problem) => !harmless.includes(problem)) },
        flags.keep,
        io,
      );
      return outcome.stopped ? reportInterrupt(interrupt, io) : code;
    } finally {
      interrupt.ignore();
      for (const { device } of devices) device.shutdown();
      unlock();
    }
  },
});

interface Opened {
  readonly devices: SaveDevice[];
  readonly problems: { readonly device: string; readonly error: DumpError }[];
}

/** Opens what opens; a device that does not is a problem of its own, and no reason to leave the others. */
function openDevices(paths: readonly string[], writable: boolean): Opened {
  const opened: Opened = { devices: [], problems: [] };
  for (const path of paths) {
    try {
      const device = ThreadedDevice.open(path, { writable, exclusive: true });
      opened.devices.push({ device, discard: (offset, length) => void device.discard(offset, length) });
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      opened.problems.push({ device: path, error });
    }
  }
  return opened;
}

/** Not there, without a label, or with that of another device: nothing of ours can be on it. */
function isNoDumpDevice(error: DumpError): boolean {
  if (error.code === 'LABEL_ABSENT' || error.code === 'LABEL_MISPLACED') return true;
  return error instanceof DeviceError && error.failure.operation === 'open' && GONE.includes(error.failure.errno ?? '');
}

const GONE = ['ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV', 'ENOMEDIUM'];

function warnOf(error: DumpError, config: string, io: Io): void {
  io.warn(error.message);
  io.error([`hint: ${error.hint === undefined ? '' : `${error.hint}; `}or take it out of \`devices\` in ${config}`]);
}

function reportInterrupt({ signal }: Interrupt, io: Io): number {
  const message = `saving: interrupted by ${signal}, nothing is lost: what is not listed as saved is still on its device`;
  const error = new RefusedError(
    'INTERRUPTED',
    message,
    { signal },
    'what was copied in part is removed; run `diskdump save` again',
  );
  io.error(formatError(error, false));
  if (io.json) io.error([formatErrorDocument(error)]);
  return exitCodeOfSignal(signal);
}

function report(outcome: SaveOutcome, kept: boolean, io: Io): number {
  for (const record of outcome.records) {
    if (io.json) io.document(record);
    else io.print(describeRecord(record));
    if (!kept && record.kind === 'log') io.note(`${record.device}: log area erased`);
  }
  for (const device of outcome.freed) io.note(`${device}: marked saved and formatted anew`);
  for (const device of outcome.reformatted) io.note(`${device}: held nothing to save, formatted anew`);
  for (const device of outcome.busy) io.note(`${device}: is being written by this boot, left alone`);
  for (const { error } of outcome.problems) {
    io.error(formatError(error, io.verbose));
    if (io.json) io.error([formatErrorDocument(error)]);
  }
  const nothing = outcome.records.length === 0 && outcome.problems.length === 0 && !outcome.stopped;
  if (nothing && !io.json) io.print('nothing to save');
  const [worst] = outcome.problems;
  if (worst) return exitCodeOf(worst.error);
  return outcome.records.some((record) => record.state === 'partial') ? EXIT.partial : EXIT.done;
}

function describeRecord(record: SaveRecord): string {
  const what = record.kind === 'log' ? 'kernel log' : `${record.state} dump, ${record.pages} pages`;
  const size = record.bytes > 0 ? `, ${formatBytes(record.bytes)}` : '';
  const again = record.again ? ' (was saved before)' : ` in ${record.seconds.toFixed(1)} s`;
  const reason = record.reason === undefined ? '' : `\n  ${escapeControls(record.reason)}`;
  const log = record.logProblem === undefined ? '' : `\n  no vmcore-dmesg.txt: ${escapeControls(record.logProblem)}`;
  return `${record.dir}: ${what}${size} from ${record.device}${again}${reason}${log}`;
}
