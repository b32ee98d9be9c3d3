/** The crashed kernel as its capture kernel shows it: /proc/vmcore, an ELF core over all of its memory. */

import { FormatError, NoDataError } from '../base/errors.ts';
import { hex } from '../base/hex.ts';
import { normalizeRanges, type Range } from '../base/ranges.ts';
import { type ByteSource, readExactlyInto } from '../base/source.ts';
import { type ElfLoad, readElfCore } from '../format/elf/headers.ts';
import { findNote, VMCOREINFO_OWNER, walkNotes } from '../format/notes.ts';
import type { VirtualSegment } from '../format/vmcore.ts';
import { vmcoreinfoPageSize } from '../format/vmcoreinfo-text.ts';
import type { Machine } from './machine.ts';

/** Where vmcoreinfo does not say. */
const PAGE_SIZE_DEFAULT = 4096;

/**
 * Opens /proc/vmcore. Reads headers and notes.
 *
 * The kernel rounds each piece of memory outwards to pages and lays whole pages into the file; p_offset then points to the
 * byte of p_paddr inside the first one. So the pages at the edges are there whole, whatever part of them is RAM.
 * Source: linux 6.1 `fs/proc/vmcore.c`, `process_ptload_program_headers_elf64`.
 *
 * The kernel text has a segment besides that of the memory it lies in (x86-64, arm64): where segments overlap the first
 * by address gives the page, both show the same bytes.
 *
 * @throws FormatError or UnsupportedError where it is no ELF64 core.
 */
export function openVmcoreMachine(source: ByteSource, name = `vmcore:${source.name}`): Machine {
  const core = readElfCore(source);
  const vmcoreinfo = findNote(walkNotes(core.notes, core.littleEndian), VMCOREINFO_OWNER)?.desc;
  const pageSize = vmcoreinfoPageSize(vmcoreinfo) ?? PAGE_SIZE_DEFAULT;
  const pieces = planPieces(core.loads, pageSize);
  return {
    name,
    kind: 'vmcore',
    arch: core.arch,
    pageSize,
    ranges: normalizeRanges(pieces.map(({ start, end }) => ({ start, end }))),
    notes: core.notes,
    segments: core.loads.map(toSegment),
    read: (pfn, target) => readPieces(source, pieces, pageSize, pfn, target),
  };
}

/** Neighbouring pages that lie together in the file. */
interface Piece extends Range {
  /** File offset of the first page. */
  readonly offset: number;
}

/** The memory of the segments in whole pages, sorted, without overlap. */
function planPieces(loads: readonly ElfLoad[], pageSize: number): Piece[] {
  const pieces: Piece[] = [];
  const sorted = loads.filter((load) => load.fileSize > 0).sort((a, b) => a.paddr - b.paddr);
  let covered = 0;
  for (const load of sorted) {
    const first = Math.floor(load.paddr / pageSize);
    const start = Math.max(first, covered);
    const end = Math.ceil((load.paddr + load.fileSize) / pageSize);
    if (end <= start) continue;
    const offset = load.offset - (load.paddr % pageSize) + (start - first) * pageSize;
    if (offset < 0) throw outsideFile(load);
    pieces.push({ start, end, offset });
    covered = end;
  }
  return pieces;
}

function outsideFile(load: ElfLoad): FormatError {
  return new FormatError(
    'VMCORE_SEGMENT',
    `segment of memory at ${hex(load.paddr)}: its first page would begin before the file, at offset ${hex(load.offset)}`,
    { paddr: load.paddr, offset: load.offset },
  );
}

function readPieces(
  source: ByteSource,
  pieces: readonly Piece[],
  pageSize: number,
  pfn: number,
  target: Uint8Array,
): void {
  for (let done = 0, at = pfn; done < target.length; ) {
    const piece = findPiece(pieces, at);
    if (!piece)
      throw new NoDataError('PAGE_ABSENT', `page ${hex(at)} of ${source.name}: no segment holds it`, { pfn: at });
    const bytes = Math.min(target.length - done, (piece.end - at) * pageSize);
    const offset = piece.offset + (at - piece.start) * pageSize;
    const part = bytes === target.length ? target : target.subarray(done, done + bytes);
    readExactlyInto(source, part, offset, `page ${hex(at)}`);
    done += bytes;
    at += bytes / pageSize;
  }
}

function findPiece(pieces: readonly Piece[], pfn: number): Piece | undefined {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pieces[middle] as Piece).end <= pfn) low = middle + 1;
    else high = middle;
  }
  const piece = pieces[low];
  return piece && piece.start <= pfn ? piece : undefined;
}

function toSegment(load: ElfLoad): VirtualSegment {
  return { vaddr: load.vaddr, paddr: load.paddr, size: load.memorySize };
}
