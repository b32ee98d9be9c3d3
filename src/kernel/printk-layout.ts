/** Where the printk ring keeps its fields, as the dumped kernel says itself. */

import { FormatError, UnsupportedError } from '../base/errors.ts';
import type { Vmcoreinfo } from './vmcoreinfo.ts';

/**
 * Offsets in bytes within the structure named first.
 * Source: Linux `kernel/printk/printk_ringbuffer.h`, `kernel/printk/printk.c` `log_buf_vmcoreinfo_setup`; since 5.10 (896fbe20b4e2).
 */
export interface PrintkLayout {
  /** Address of the pointer variable `prb`. */
  readonly prb: bigint;
  readonly ring: { readonly size: number; readonly descRing: number; readonly textDataRing: number };
  readonly descRing: {
    readonly countBits: number;
    readonly descs: number;
    readonly infos: number;
    /** Of the `counter` inside the atomic. */
    readonly headId: number;
    readonly tailId: number;
  };
  readonly desc: { readonly size: number; readonly stateVar: number; readonly begin: number; readonly next: number };
  readonly info: {
    readonly size: number;
    readonly seq: number;
    readonly tsNsec: number;
    readonly textLen: number;
    readonly facility: number;
    /** One byte: flags in the low five bits, level in the high three (little-endian). */
    readonly flagsLevel: number;
    readonly callerId: number | undefined;
    readonly subsystem: number | undefined;
    readonly subsystemLength: number;
    readonly device: number | undefined;
    readonly deviceLength: number;
  };
  readonly dataRing: { readonly sizeBits: number; readonly data: number };
}

/** Offset of a member (`struct.member`) or size of a structure, from types; `undefined` where they do not tell. */
export interface StructFacts {
  offset(member: string): number | undefined;
  size(struct: string): number | undefined;
  symbol(name: string): bigint | undefined;
}

/** No structure of the ring is larger; a larger one is damage. */
const STRUCT_SIZE_MAX = 4096;

/**
 * Gathers the layout from vmcoreinfo, and from `fallback` (kallsyms and BTF; asked only when a line is missing, for finding
 * them costs far more than the log) what vmcoreinfo lacks.
 *
 * @throws UnsupportedError for the log formats before 5.10; FormatError where a needed line is missing or members do not fit
 * their structure.
 */
export function findPrintkLayout(vmcoreinfo: Vmcoreinfo, fallback?: () => StructFacts | undefined): PrintkLayout {
  let facts: StructFacts | undefined;
  let asked = false;
  const ask = (): StructFacts | undefined => {
    if (!asked) facts = fallback?.();
    asked = true;
    return facts;
  };
  const offset = (member: string): number =>
    vmcoreinfo.offset(member) ?? ask()?.offset(member) ?? vmcoreinfo.need('OFFSET', member);
  const size = (struct: string): number =>
    checkSize(vmcoreinfo.size(struct) ?? ask()?.size(struct) ?? vmcoreinfo.need('SIZE', struct), struct);

  refuseOldFormats(vmcoreinfo);
  const prb = vmcoreinfo.symbol('prb') ?? ask()?.symbol('prb') ?? vmcoreinfo.need('SYMBOL', 'prb');
  const counter = offset('atomic_long_t.counter');
  const blocks = offset('prb_desc.text_blk_lpos');
  const textLen = offset('printk_info.text_len');
  const devInfo = vmcoreinfo.offset('printk_info.dev_info');
  const subsystem = vmcoreinfo.offset('dev_printk_info.subsystem');
  const device = vmcoreinfo.offset('dev_printk_info.device');
  const layout: PrintkLayout = {
    prb,
    ring: {
      size: size('printk_ringbuffer'),
      descRing: offset('printk_ringbuffer.desc_ring'),
      textDataRing: offset('printk_ringbuffer.text_data_ring'),
    },
    descRing: {
      countBits: offset('prb_desc_ring.count_bits'),
      descs: offset('prb_desc_ring.descs'),
      infos: offset('prb_desc_ring.infos'),
      headId: offset('prb_desc_ring.head_id') + counter,
      tailId: offset('prb_desc_ring.tail_id') + counter,
    },
    desc: {
      size: size('prb_desc'),
      stateVar: offset('prb_desc.state_var') + counter,
      begin: blocks + offset('prb_data_blk_lpos.begin'),
      next: blocks + offset('prb_data_blk_lpos.next'),
    },
    info: {
      size: size('printk_info'),
      seq: offset('printk_info.seq'),
      tsNsec: offset('printk_info.ts_nsec'),
      textLen,
      // vmcoreinfo tells neither; in every kernel with this ring they follow text_len (u16) at once.
      facility: textLen + 2,
      flagsLevel: textLen + 3,
      callerId: vmcoreinfo.offset('printk_info.caller_id') ?? ask()?.offset('printk_info.caller_id'),
      subsystem: devInfo !== undefined && subsystem !== undefined ? devInfo + subsystem : undefined,
      subsystemLength: vmcoreinfo.length('printk_info_subsystem') ?? 0,
      device: devInfo !== undefined && device !== undefined ? devInfo + device : undefined,
      deviceLength: vmcoreinfo.length('printk_info_device') ?? 0,
    },
    dataRing: { sizeBits: offset('prb_data_ring.size_bits'), data: offset('prb_data_ring.data') },
  };
  checkLayout(layout);
  return layout;
}

/** Kernels that keep their log another way, by the symbols that give them away. */
function refuseOldFormats(vmcoreinfo: Vmcoreinfo): void {
  if (vmcoreinfo.has('SYMBOL(prb)')) return;
  const old = vmcoreinfo.has('SYMBOL(log_first_idx)')
    ? 'variable-length records (kernels 3.5 to 5.9)'
    : vmcoreinfo.has('SYMBOL(log_end)')
      ? 'a flat buffer (kernels before 3.5)'
      : undefined;
  if (old === undefined) return;
  throw new UnsupportedError(
    'PRINTK_FORMAT',
    `reading the kernel log: ${vmcoreinfo.osRelease ?? 'this kernel'} keeps it as ${old}, only the ring of 5.10 and later is read yet`,
    { release: vmcoreinfo.osRelease },
    '`makedumpfile --dump-dmesg` reads these',
  );
}

function checkSize(size: number, struct: string): number {
  if (size >= 1 && size <= STRUCT_SIZE_MAX) return size;
  throw new FormatError('PRINTK_LAYOUT', `struct ${struct} has ${size} bytes, expected 1 to ${STRUCT_SIZE_MAX}`, {
    struct,
    size,
  });
}

/** Every member must lie inside its structure, or a record's fields would be read from its neighbour. */
function checkLayout({ ring, descRing, desc, info, dataRing }: PrintkLayout): void {
  const members: readonly [struct: string, size: number, ends: readonly (number | undefined)[]][] = [
    [
      'printk_ringbuffer',
      ring.size,
      [
        ...[descRing.countBits + 4, descRing.descs + 8, descRing.infos + 8].map((end) => ring.descRing + end),
        ...[descRing.headId + 8, descRing.tailId + 8].map((end) => ring.descRing + end),
        ...[dataRing.sizeBits + 4, dataRing.data + 8].map((end) => ring.textDataRing + end),
      ],
    ],
    ['prb_desc', desc.size, [desc.stateVar + 8, desc.begin + 8, desc.next + 8]],
    [
      'printk_info',
      info.size,
      [
        info.seq + 8,
        info.tsNsec + 8,
        info.flagsLevel + 1,
        info.callerId === undefined ? 0 : info.callerId + 4,
        info.subsystem === undefined ? 0 : info.subsystem + info.subsystemLength,
        info.device === undefined ? 0 : info.device + info.deviceLength,
      ],
    ],
  ];
  for (const [struct, size, ends] of members) {
    const end = Math.max(...ends.map((value) => value ?? 0));
    if (end <= size) continue;
    throw new FormatError(
      'PRINTK_LAYOUT',
      `a member of struct ${struct} ends at byte ${end}, the structure has ${size}: vmcoreinfo contradicts itself`,
      { struct, size, end },
    );
  }
}
