/** `diskdump pages`: every page that a dump gives, with a hash, so that two dumps can be compared. */

import { hash } from 'node:crypto';
import { FormatError, UnsupportedError } from '../../base/errors.ts';
import { isZeroPage } from '../../codec/zero.ts';
import type { Vmcore } from '../../format/vmcore.ts';
import { EXIT } from '../errors.ts';
import { openDumpFile } from '../open-dump.ts';
import type { Io } from '../output.ts';
import { startPageProgress } from '../page-progress.ts';
import { defineVerb, flag } from '../verb.ts';

const SHORT_DIGITS = 16;

export const verb = defineVerb({
  name: 'pages',
  text: `One line for each page whose contents the dump gives, ascending: PFN HASH, where PFN is hex and HASH the first
16 digits of the page's SHA-256. A run of pages that hold nothing but zeros is one line: FIRST-LAST Z. Pages
that were excluded, are holes or were never memory have no line.`,
  examples: [
    { command: 'pages vmcore | sha256sum', brief: 'one number for all memory in a dump' },
    { command: 'pages --sha256 vmcore', brief: 'whole digests' },
  ],
  flags: { sha256: flag.switch('print all 64 digits') },
  positionals: [{ name: 'DUMP', brief: 'a dump file or a dump device' }],
  noJson: 'its lines are made for programs: PFN HASH, or FIRST-LAST Z; `diskdump info --json` has the counts',
  run(flags, [path], io) {
    const dump = openDumpFile(path as string);
    try {
      const damaged = printPages(dump.vmcore, flags.sha256 ? undefined : SHORT_DIGITS, io);
      return damaged === 0 ? EXIT.done : EXIT.unreadable;
    } finally {
      dump.close();
    }
  },
});

/** Prints the lines; a damaged page is named on stderr and left out. Returns how many were. */
function printPages(vmcore: Vmcore, digits: number | undefined, io: Io): number {
  const page = new Uint8Array(vmcore.pageSize);
  const zeros = new ZeroRun(io);
  const progress = startPageProgress(vmcore, io);
  let [damaged, done] = [0, 0];
  for (const run of vmcore.walkPages()) {
    if (run.presence === 'zero' || run.presence === 'stored') done += run.end - run.start;
    if (run.presence === 'zero') zeros.add(run.start, run.end);
    if (run.presence !== 'stored') continue;
    for (let pfn = run.start; pfn < run.end; pfn++) {
      if (!readOrWarn(vmcore, pfn, page, io)) {
        damaged++;
      } else if (isZeroPage(page, 0, page.length)) {
        zeros.add(pfn, pfn + 1);
      } else {
        zeros.end();
        const digest = hash('sha256', page, 'hex');
        io.print(`${pfn.toString(16)} ${digits === undefined ? digest : digest.slice(0, digits)}`);
      }
    }
    progress.update(done * vmcore.pageSize);
  }
  zeros.end();
  return damaged;
}

/** One codec that is missing would be missing for every page: only damage is passed over. */
function readOrWarn(vmcore: Vmcore, pfn: number, page: Uint8Array, io: Io): boolean {
  try {
    vmcore.readPage(pfn, page);
    return true;
  } catch (error) {
    if (!(error instanceof FormatError) || error instanceof UnsupportedError) throw error;
    io.warn(error.message);
    return false;
  }
}

/** Merges neighbouring zero pages into one line. */
class ZeroRun {
  readonly #io: Io;
  #start = 0;
  #end = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  add(start: number, end: number): void {
    if (start !== this.#end) {
      this.end();
      this.#start = start;
    }
    this.#end = end;
  }

  /** Prints what was gathered. */
  end(): void {
    if (this.#start < this.#end) this.#io.print(`${this.#start.toString(16)}-${(this.#end - 1).toString(16)} Z`);
    this.#start = this.#end;
  }
}
