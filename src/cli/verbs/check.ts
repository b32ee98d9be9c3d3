/** `diskdump check`: what a dump device is and whether it is fit; whether a dump is sound. */

import { statSync } from 'node:fs';
import { latin1 } from '../../base/cursor.ts';
import { type DumpDevice, readDevice } from '../../base/device.ts';
import { FormatError, NoDataError, UnsupportedError } from '../../base/errors.ts';
import { ThreadedDevice } from '../../driver/threaded.ts';
import { imageDevice } from '../../format/kdump/device-source.ts';
import { readLabel } from '../../format/kdump/label.ts';
import type { Vmcore } from '../../format/vmcore.ts';
import { readBootId } from '../../host/boot-id.ts';
import { nodeCrc32 } from '../../host/codecs.ts';
import { openFileSource } from '../../host/file-source.ts';
import { checkDevice } from '../device/check-device.ts';
import { checkPages, type PageCheck } from '../device/check-dump.ts';
import { EXIT } from '../errors.ts';
import { openDumpFile } from '../open-dump.ts';
import { escapeControls, type Io } from '../output.ts';
import { startPageProgress } from '../page-progress.ts';
import { defineVerb, flag } from '../verb.ts';

export const verb = defineVerb({
  name: 'check',
  text: `Of a device: is it a dump device, whose, in which state, and would stage 1 take it? States are
  unformatted  no label, and nothing on it that shows
  foreign      something else, or a label that belongs elsewhere
  ready        formatted, signatures whole
  in-use       being written by this boot, or cut before there was anything to save
  partial      a dump that ended early, not saved
  complete     a whole dump, not saved
  saved        its dump is saved, to be formatted anew
Of a dump, on a device or in a file: every page is read, and proved where there is a checksum; complete or partial.

The answer is on stdout; the exit code is 1 where something is wrong.`,
  examples: [
    { command: 'check /dev/vdb', brief: 'a dump device' },
    { command: 'check --quick /dev/vdb', brief: 'without reading every page of the dump on it' },
    { command: 'check /var/crash/127.0.0.1-2026-11-21-02:27:13/vmcore', brief: 'a saved dump' },
  ],
  flags: { quick: flag.switch('do not read the pages of a dump') },
  positionals: [{ name: 'DEVICE|DUMP', brief: 'a dump device, its image, or a dump file' }],
  run(flags, [name], io) {
    const path = name as string;
    const isDevice = statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true;
    const opened = isDevice ? openBlock(path) : openImage(path);
    try {
      if (readLabel(opened.device, nodeCrc32).identity === undefined) {
        const asDevice = isDevice || beginsWithSignature(opened.device);
        const answer = tryDump(path, asDevice, flags.quick, io);
        if (answer) return answer(io);
      }
      return checkWhole(opened.device, flags.quick, io);
    } finally {
      opened.close();
    }
  },
});

/** What a format that was cut leaves, on a disk or in a file: signatures, and no label. */
function beginsWithSignature(device: DumpDevice): boolean {
  if (device.size < SIGNED_BYTES) return false;
  const head = new Uint8Array(SIGNED_BYTES);
  readDevice(device, head, 0);
  return latin1(head.subarray(0, 8)) === 'diskdump';
}

/** Of a file's image, whose block this is; the signature stands at its start. */
const SIGNED_BYTES = 4096;

interface Opened {
  readonly device: DumpDevice;
  close(): void;
}

/** Behind a thread: a disk that hangs is an answer too. */
function openBlock(path: string): Opened {
  const device = ThreadedDevice.open(path, { writable: false, exclusive: false });
  return { device, close: () => device.shutdown() };
}

function openImage(path: string): Opened {
  const source = openFileSource(path);
  return { device: imageDevice(source), close: () => source.close() };
}

function checkWhole(device: DumpDevice, quick: boolean, io: Io): number {
  const progress = io.progress({ label: 'checking', unit: 'blocks' });
  let steps = 0;
  const { state, uuid, dump, problems } = checkDevice(device, readBootId(), () => progress.update(++steps));
  progress.stop();
  const pages = dump && !quick ? countPages(dump, io) : undefined;
  return answerWith(io, device.name, { state, ...(uuid !== undefined && { uuid }), problems }, pages);
}

/**
 * A dump file, or a KDUMP that lies on a device without a label: how it answers, or `undefined` where there is no dump.
 *
 * @param asDevice a format that is known and not read is no reason to give up: something lies on a device.
 */
function tryDump(path: string, asDevice: boolean, quick: boolean, io: Io): ((io: Io) => number) | undefined {
  try {
    const dump = openDumpFile(path);
    try {
      const { vmcore } = dump;
      const problems =
        vmcore.state === 'partial' ? [`the dump is partial: ${vmcore.partialReason ?? 'cut short'}`] : [];
      const pages = quick ? undefined : countPages(vmcore, io);
      return (to) => answerWith(to, path, { state: vmcore.state, problems }, pages);
    } finally {
      dump.close();
    }
  } catch (error) {
    if (error instanceof FormatError && error.code === 'FORMAT_UNKNOWN') return undefined;
    if (error instanceof NoDataError && error.code === 'FILE_EMPTY') return undefined;
    if (error instanceof UnsupportedError && asDevice) return undefined;
    throw withoutLoop(error);
  }
}

/** Errors of dumps send to `check`; here it must be another way. */
function withoutLoop(error: unknown): unknown {
  if (!(error instanceof FormatError) || !error.hint?.includes('diskdump check')) return error;
  const hint = 'too little of it is left to find pages: copy it again, or save it again from its device';
  return new FormatError(error.code, error.message, error.data, hint, error);
}

function countPages(dump: Vmcore, io: Io): PageCheck {
  const progress = startPageProgress(dump, io);
  const pages = checkPages(dump, (done) => progress.update(done * dump.pageSize));
  progress.stop();
  return pages;
}

interface Answer {
  readonly state: string;
  readonly uuid?: string;
  readonly problems: readonly string[];
}

function answerWith(io: Io, name: string, answer: Answer, pages: PageCheck | undefined): number {
  const problems = [...answer.problems, ...(pages?.problems ?? [])];
  if (io.json) {
    const { problems: _, ...counts } = pages ?? { problems: [] };
    io.document({ schema: 'diskdump.check/1', ...answer, problems, ...(pages && { pages: counts }) });
  } else {
    const label = answer.uuid === undefined ? '' : `, label ${answer.uuid}`;
    const damaged = pages && pages.damaged > 0 ? `, ${pages.damaged} damaged` : '';
    const read = pages ? `, ${pages.good} pages read, ${pages.zero} zero${damaged}` : '';
    io.print(`${name}: ${answer.state}${label}${read}`);
    for (const problem of problems) io.print(`  ${escapeControls(problem)}`);
  }
  return problems.length === 0 ? EXIT.done : EXIT.no;
}
