/**
 * The dump device, byte by byte: label, records of the log, and what a KDUMP reader sees of them.
 *
 * All integers are little-endian. `docs/formats/dump-device.md` explains each structure and works an example; this table
 * is the same in code. Layout version 1, frozen. The file is long because it is a table.
 */

/** Sizes that hold on every device, in bytes. */
export const GEOMETRY = {
  /** Unit of the device's counted size and of the log area. */
  granule: 65536,
  /** Offset of the start record, whatever the page size. */
  logStart: 262144,
  /** The last granule: label copies. */
  labelArea: 65536,
  labelCopy1: 0, //      from the start of the label area
  labelCopy2: 32768, //  from the start of the label area
  labelCopy3: 8192, //   from the start of the device; counts only in state ready
  labelIdentity: 0, //   of a copy
  labelState: 4096, //   of a copy; the copy is 8192 bytes
  labelBlock: 4096,
  /** Unit of signatures: block n lies at 4096·n. */
  signatureBlock: 4096,
  logAreaDefault: 16 * 2 ** 20,
  /** sub_hdr_size is an s32 count of pages: no data past this, with 4 KiB pages. */
  dataEnd: 8 * 2 ** 40,
  /** Records lie on multiples of at least this. */
  recordAlignMin: 4096,
} as const;

/** Written by format alone; the fallback script compares this block and nothing else. */
export const LABEL_IDENTITY = {
  size: 512, //          all of it in one sector; the rest of the 4 KiB block is zero
  magic: 0, //           8 bytes `DDIDENT` + NUL
  version: 8, //         u32  layout version, 1
  flags: 12, //          u32  0
  uuid: 16, //           16   of the device, new at each format
  start: 32, //          u64  bytes from the start of the disk
  deviceSize: 40, //     u64  bytes, as formatted
  logicalBlock: 48, //   u32  bytes
  sampleRate: 52, //     s32  2^n blocks are signed and checked; 0 = all
  blockOrder: 56, //     u32  2^n blocks per read of a full check
  signatureAdd: 60, //   u32  7 (kernels) or 3 (white paper)
  logAreaBytes: 64, //   u64  multiple of 64 KiB
  capacity: 72, //       u64  counted size − label area − log area
  machineId: 80, //      16   /etc/machine-id, zeros if none
  serial: 96, //         64   serial of the disk, NUL-padded; all zero if none
  formattedMs: 160, //   u64  wall clock, ms since 1970
  checksum: 508, //      u32  CRC-32 of bytes 0..508
} as const;

/** Rewritten at every change of state. */
export const LABEL_STATE = {
  size: 512,
  magic: 0, //           8 bytes `DDSTATE` + NUL
  version: 8, //         u32  1
  state: 12, //          u32  STATE
  uuid: 16, //           16   of the device
  counter: 32, //        u64  the higher good one rules
  dumpUuid: 40, //       16   U; zeros in state ready
  part: 56, //           u32  1 = first device of the dump
  reserved: 60, //       u32  0
  bootId: 64, //         16   boot id of the writing kernel; zeros unless captured over /proc/vmcore
  armedDigest: 80, //    32   SHA-256 of the armed image, zeros if none
  writtenMs: 112, //     u64  wall clock
  checksum: 508, //      u32  CRC-32 of bytes 0..508
} as const;

/** Values of LABEL_STATE.state. */
export const STATE = { ready: 1, inUse: 2, ended: 3, complete: 4, saved: 5 } as const;

/** Head of every record; `lists` follow at once, then padding to the record alignment. */
export const RECORD = {
  size: 128,
  magic: 0, //              8 bytes `DDRECORD`
  version: 8, //            u16  1
  kind: 10, //              u16  RECORD_KIND
  pass: 12, //              u16  NO_PASS where it has none
  flags: 14, //             u16  generation: bit 0 = last
  dumpUuid: 16, //          16   U
  part: 32, //              u32
  pageSize: 36, //          u32
  sequence: 40, //          u64  from 1 for each U and device
  offset: 48, //            u64  own offset on the device
  length: 56, //            u64  whole record with padding
  previousRecord: 64, //    u64  offset, 0 = none
  previousGeneration: 72, //u64  offset, 0 = none
  previousIndex: 80, //     u64  offset, 0 = none
  listLength: 88, //        u64  bytes of the lists
  entryCount: 96, //        u32  chunk, index: entries in the lists
  alignment: 100, //        u32  A: records lie on multiples of it
  firstPfn: 104, //         u64  chunk, index: lowest pfn; ALL_ONES if none
  lastPfn: 112, //          u64  chunk, index: highest pfn
  listChecksum: 120, //     u32  CRC-32 of the lists
  headerChecksum: 124, //   u32  CRC-32 of bytes 0..124
} as const;

export const RECORD_KIND = { start: 1, chunk: 2, index: 3, generation: 4 } as const;
export const NO_PASS = 0xffff;
export const GENERATION_LAST = 1;

/** Lists of a start record: this block, then `rangeCount` RANGEs, `passCount` PASSes, then the notes. */
export const START = {
  size: 640,
  maxMapnr: 0, //           u64
  physBase: 8, //           s64
  wallMs: 16, //            u64  when stage 1 began
  bootId: 24, //            16
  notesOffset: 40, //       u64  absolute: KDUMP's offset_note
  notesLength: 48, //       u64
  vmcoreinfoOffset: 56, //  u64  absolute: KDUMP's offset_vmcoreinfo, 0 = none
  vmcoreinfoLength: 64, //  u64
  dumpLevel: 72, //         u32  1
  codec: 76, //             u32  KDUMP flag
  rangeCount: 80, //        u32
  passCount: 84, //         u32
  cpuCount: 88, //          u32  NT_PRSTATUS notes
  machineKind: 92, //       u32  MACHINE_KIND
  utsname: 96, //           390  of the dead kernel
  chunkBytes: 488, //       u32  largest chunk
  chunkEntries: 492, //     u32
  indexInterval: 496, //    u32  pages
  reserved: 500, //         u32  0
  crashSeconds: 504, //     u64  CRASHTIME of vmcoreinfo, 0 = unknown
  armedDigest: 512, //      32
  machineName: 544, //      64   NUL-padded
} as const;

/** Memory of the machine, in pfns. */
export const RANGE = { size: 16, start: 0, end: 8 } as const;

/** One row of the pass table, in start records and generations. */
export const PASS = {
  size: 64,
  name: 0, //      16   ASCII, NUL-padded
  planned: 16, //  u64  pages
  stored: 24, //   u64
  holes: 32, //    u64
  indexes: 40, //  u64  index records of this pass so far
  state: 48, //    u32  0 not begun, 1 begun, 2 done
  reserved: 52, // 12 bytes, 0
} as const;

/** Entry in a chunk's lists. */
export const CHUNK_ENTRY = {
  size: 24,
  pfn: 0, //       u64
  offset: 8, //    u32  of the stored bytes, from the start of the record; 0 for a zero page
  length: 12, //   u32  stored bytes; 0 for a zero page
  checksum: 16, // u32  CRC-32 of the page before compression
  codec: 20, //    u16  KDUMP flag, or CODEC_ZERO
  reserved: 22, // u16  0
} as const;

export const CODEC_ZERO = 0x8000;

/** Kinds of machines, as the start record numbers them. */
export const MACHINE_KIND = { vmcore: 1, guest: 2, live: 3, file: 4 } as const;

/**
 * Entry in an index's lists: a pfn and its KDUMP page descriptor (24 bytes, PAGE_DESC of `layout.ts`) as the generation
 * will hold it. A zero page has the shared zero page's offset, 2·page size.
 */
export const INDEX_ENTRY = {
  size: 32,
  pfn: 0, //            u64
  descriptor: 8, //     the 24 bytes; their fields are:
  fileOffset: 8, //     s64  absolute offset of the stored bytes
  storedLength: 16, //  u32  1..page size
  flags: 20, //         u32  KDUMP codec flag, 0 = raw
  proof: 24, //         u64  page_flags, as PAGE_PROOF
} as const;

/** What `page_flags` of a device's descriptor holds: proof that these bytes are that page. */
export const PAGE_PROOF = {
  checksum: 0, //  u32  CRC-32 of the page before compression
  pfn: 4, //       u32  low 32 bits of the pfn, so that a descriptor at the wrong rank is seen
} as const;

/**
 * Lists of a generation: this block, `passCount` PASSes, `indexCount` INDEX_REFs, the run record. Then, on a page boundary,
 * bitmap 1, bitmap 2 (each padded to pages) and the descriptors. The body is written before the head.
 */
export const GENERATION = {
  size: 128,
  bitmap1Offset: 0, //       u64  absolute, on a page
  bitmapBytes: 8, //         u64  of each bitmap, whole pages
  descriptorsOffset: 16, //  u64  absolute = bitmap1Offset + 2·bitmapBytes
  descriptorCount: 24, //    u64  = bits set in bitmap 2
  presentCount: 32, //       u64  bits set in bitmap 1
  zeroCount: 40, //          u64  zero pages among the stored
  plannedCount: 48, //       u64
  holeCount: 56, //          u64  planned pages that could not be read
  bitmap1Checksum: 64, //    u32  CRC-32
  bitmap2Checksum: 68, //    u32
  descriptorsChecksum: 72, //u32
  passCount: 76, //          u32
  indexCount: 80, //         u32
  runRecordLength: 84, //    u32  bytes of UTF-8 JSON, at most 1 MiB
  reserved: 88, //           40 bytes, 0
} as const;

/** Where an index record lies, so that a resumed stage 1 and a reader need not walk the chunks. */
export const INDEX_REF = {
  size: 32,
  offset: 0, //    u64
  firstPfn: 8, //  u64
  lastPfn: 16, //  u64
  count: 24, //    u32
  pass: 28, //     u32
} as const;

/** Bytes of a run record. */
export const RUN_RECORD_MAX = 2 ** 20;

/**
 * What no record exceeds, so that a reader bounds every count and length before it believes them. A writer raises its
 * index interval on machines so large that it would need more than `indexRefs` index records.
 */
export const LOG_LIMITS = {
  /** Bytes of a chunk with head and padding. */
  chunkBytes: 2 ** 20,
  chunkEntries: 4096,
  indexEntries: 2 ** 18,
  /** Index records of one dump on one device: 2 MiB of references. */
  indexRefs: 2 ** 16,
  passes: 16,
  /** Memory ranges of a start record. */
  ranges: 2 ** 16,
  /** Bytes of notes: some 8000 CPUs take 3 MiB. */
  notesBytes: 16 * 2 ** 20,
  /** The largest A: records lie on multiples of it. */
  alignment: 65536,
} as const;

/** Largest lists of a generation: how far before bitmap 1 its head can lie. */
export const GENERATION_LISTS_MAX =
  GENERATION.size + LOG_LIMITS.passes * PASS.size + LOG_LIMITS.indexRefs * INDEX_REF.size + RUN_RECORD_MAX;

/**
 * Header of the log area: this block, `rangeCount` LOG_RANGEs, the text of vmcoreinfo; zeros up to `headerLength`. Made whole
 * when the machine is armed, and written last by the fallback: a header there means that the ranges are there.
 */
export const LOG_AREA = {
  size: 192,
  magic: 0, //             8 bytes `DDLOGARE`
  version: 8, //           u32  1
  headerLength: 12, //     u32  whole 4 KiB blocks, at most 64 KiB
  armId: 16, //            16   of this arming
  pageSize: 32, //         u32
  rangeCount: 36, //       u32
  vmcoreinfoOffset: 40, // u32  from the start of the header
  vmcoreinfoLength: 44, // u32
  armedMs: 48, //          u64  wall clock, ms since 1970
  release: 56, //          64   kernel release, NUL-padded
  areaBytes: 120, //       u64  header and ranges: end of the last range
  reserved: 128, //        60 bytes, 0
  checksum: 188, //        u32  CRC-32 of the whole header with this field zero
} as const;

/** A range of physical memory in the log area. Addresses and lengths are whole pages. */
export const LOG_RANGE = {
  size: 64,
  name: 0, //     32  ASCII, NUL-padded: the symbol it is for
  vaddr: 32, //   u64  of the range's first byte in the dead kernel
  paddr: 40, //   u64
  length: 48, //  u64  bytes
  offset: 56, //  u64  from the start of the log area, a multiple of 4 KiB
} as const;

/** Ranges and header of a log area: bounds for a reader. */
export const LOG_AREA_LIMITS = { headerBytes: 65536, ranges: 256 } as const;

/** Defaults of what a test may shrink. */
export const LOG_PARAMETERS = {
  /** Largest chunk in bytes with head and padding: one transfer. */
  chunkBytes: 2 ** 20,
  chunkEntries: 4096,
  /** Pages between two index records; at most 2^18. 2^16 keeps the pending table at 2 MiB. */
  indexInterval: 2 ** 16,
} as const;

export type LogParameters = { readonly [K in keyof typeof LOG_PARAMETERS]: number };
