/** Any dump file as a machine, so that it can be captured onto a device. */

import { BlockWriter, roundUp } from '../base/cursor.ts';
import { UnsupportedError } from '../base/errors.ts';
import type { Range } from '../base/ranges.ts';
import { LOG_LIMITS } from '../format/kdump/log-layout.ts';
import type { Note } from '../format/notes.ts';
import type { Vmcore } from '../format/vmcore.ts';
import type { Machine } from './machine.ts';

/**
 * A dump as a machine. Pages that a filter left out stay so; pages that it should have and can't give become holes.
 *
 * @throws UnsupportedError `DUMP_RANGES` where its pages lie in more ranges than a start record holds.
 */
export function openDumpMachine(dump: Vmcore): Machine {
  const { pageSize } = dump;
  return {
    name: dump.name,
    kind: 'file',
    arch: dump.arch,
    pageSize,
    ...collectRanges(dump),
    ...(dump.header.dumpLevel !== undefined && { dumpLevel: dump.header.dumpLevel }),
    maxMapnr: dump.maxMapnr,
    notes: writeNotes(dump.notes, dump.littleEndian),
    segments: dump.segments,
    read(pfn, target) {
      for (let at = 0; at < target.length; at += pageSize, pfn++)
        dump.readPage(pfn, target.length === pageSize ? target : target.subarray(at, at + pageSize));
    },
  };
}

function collectRanges(dump: Vmcore): Required<Pick<Machine, 'ranges' | 'excluded'>> {
  const ranges: Range[] = [];
  const excluded: Range[] = [];
  let [together, end] = [0, -1];
  for (const run of dump.walkPages()) {
    appendRun(run.presence === 'excluded' ? excluded : ranges, run);
    if (run.start !== end) together++;
    end = run.end;
    if (together > LOG_LIMITS.ranges || Math.max(ranges.length, excluded.length) > PIECES_MAX)
      throw new UnsupportedError(
        'DUMP_RANGES',
        `${dump.name}: its pages lie in too many ranges: ${together} together (a start record holds ${LOG_LIMITS.ranges}), ${ranges.length} to be stored`,
        { together, ranges: ranges.length, excluded: excluded.length },
        'capture the unfiltered dump',
      );
  }
  return { ranges, excluded };
}

function appendRun(ranges: Range[], { start, end }: Range): void {
  const last = ranges.at(-1);
  if (last?.end === start) ranges[ranges.length - 1] = { start: last.start, end };
  else ranges.push({ start, end });
}

/** Ranges of pages kept in memory, some 60 bytes each. */
const PIECES_MAX = 2 ** 20;

/** Head of a note. Source: linux `include/uapi/linux/elf.h`, `Elf64_Nhdr`. */
const NHDR_BYTES = 12;

/** Notes as a PT_NOTE segment holds them: names and descriptors padded to 4. */
function writeNotes(notes: readonly Note[], littleEndian: boolean): Uint8Array {
  const length = (note: Note): number => NHDR_BYTES + roundUp(note.owner.length + 1, 4) + roundUp(note.desc.length, 4);
  const bytes = new Uint8Array(notes.reduce((sum, note) => sum + length(note), 0));
  const out = new BlockWriter(bytes, littleEndian);
  let at = 0;
  for (const note of notes) {
    out.u32(at, note.owner.length + 1);
    out.u32(at + 4, note.desc.length);
    out.u32(at + 8, note.type);
    out.text(at + NHDR_BYTES, note.owner.length + 1, note.owner);
    out.put(at + NHDR_BYTES + roundUp(note.owner.length + 1, 4), note.desc);
    at += length(note);
  }
  return bytes;
}
