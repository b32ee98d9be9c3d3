/** From bytes to an open dump: an ordered table of probes, each answering mine or not mine. */

import type { Crc32 } from '../base/crc32.ts';
import { FormatError, isBadSector, UnsupportedError } from '../base/errors.ts';
import { hexBytes } from '../base/hex.ts';
import type { ByteSource } from '../base/source.ts';
import type { CodecTable } from '../codec/codec.ts';
import { ELF_MAGIC } from './elf/layout.ts';
import { openElf } from './elf/reader.ts';
import { looksLikeDumpDevice, openDeviceDump } from './kdump/device-vmcore.ts';
import { KDUMP_SIGNATURE } from './kdump/layout.ts';
import { openKdump } from './kdump/reader.ts';
import { ascii, findKnownFormat, startsWith } from './known-formats.ts';
import type { Vmcore } from './vmcore.ts';

/** What pages are restored and checked with. */
export interface OpenOptions {
  readonly codecs: CodecTable;
  /** Default: the portable one. */
  readonly crc?: Crc32;
}

/**
 * One format.
 *
 * To add one: answer from the head of the file (or, where a label stands at the end, from that) and put the row where nothing before it claims the same bytes. A wrapper
 * opens what it wraps by calling {@link openVmcore} on itself as a source.
 */
interface Probe {
  readonly name: string;
  /** @param head the first 64 KiB, or the whole of a smaller file. */
  isMine(head: Uint8Array, source: ByteSource): boolean;
  open(source: ByteSource, options: OpenOptions): Vmcore;
}

const PROBES: readonly Probe[] = [
  {
    // Before KDUMP: block 0 of a dump device is one, and knows less than the label and the log.
    name: 'dump device',
    isMine: (_head, source) => looksLikeDumpDevice(source),
    open: (source, options) => openDeviceDump(source, options),
  },
  {
    name: 'kdump',
    isMine: (head) => startsWith(head, ascii(KDUMP_SIGNATURE)),
    open: (source, options) => openKdump(source, options),
  },
  {
    name: 'elf',
    isMine: (head) => startsWith(head, ELF_MAGIC),
    open: (source) => openElf(source),
  },
];

/** The swap signature ends the first page, of up to 64 KiB. */
const HEAD_BYTES = 65536;

/**
 * Opens a dump of any format that diskdump reads. Reads headers only.
 *
 * @throws UnsupportedError for a format known by name; FormatError where the bytes are no dump, or a damaged one;
 * NoDataError for a dump device that holds none.
 */
export function openVmcore(source: ByteSource, options: OpenOptions): Vmcore {
  const head = readHead(source);
  const probe = PROBES.find((candidate) => candidate.isMine(head, source));
  if (probe !== undefined) return probe.open(source, options);
  const known = findKnownFormat(head);
  if (known !== undefined) {
    throw new UnsupportedError(
      'FORMAT_UNSUPPORTED',
      `${source.name}: a ${known.name} is not read yet`,
      { format: known.name },
      known.hint,
    );
  }
  throw new FormatError(
    'FORMAT_UNKNOWN',
    `${source.name}: no dump format begins with ${hexBytes(head.subarray(0, 8)) || 'nothing'}`,
    { head: hexBytes(head.subarray(0, 8)), size: source.size },
    'diskdump reads KDUMP files, ELF cores and its own dump devices',
  );
}

/** What of the head can be read; zeros stand for bad sectors. */
function readHead(source: ByteSource): Uint8Array {
  const head = new Uint8Array(Math.min(HEAD_BYTES, source.size));
  try {
    return head.subarray(0, source.readInto(head, 0));
  } catch (error) {
    if (!isBadSector(error)) throw error;
  }
  for (let at = 0; at < head.length; at += SECTOR_BYTES) {
    try {
      source.readInto(head.subarray(at, at + SECTOR_BYTES), at);
    } catch (error) {
      if (!isBadSector(error)) throw error;
    }
  }
  return head;
}

const SECTOR_BYTES = 4096;
