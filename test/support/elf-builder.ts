/** ELF64 cores from a few lines, straight from the format's description. */

import { concat } from './kdump-builder.ts';

/** One PT_LOAD. */
export interface BuiltSegment {
  readonly paddr: bigint;
  readonly vaddr?: bigint;
  /** Bytes in the file. */
  readonly data?: Uint8Array;
  /** Default: as many as `data`. */
  readonly memorySize?: number;
  /** Shows the bytes of that segment (by index) instead of bytes of its own, from `at` on. */
  readonly sharesWith?: { readonly index: number; readonly at: number };
  /** p_offset all ones, as QEMU writes for what was filtered. */
  readonly noOffset?: boolean;
}

/** What to build. */
export interface ElfRecipe {
  readonly segments: readonly BuiltSegment[];
  /** Contents of PT_NOTE segments; one by default, empty. */
  readonly notes?: readonly Uint8Array[];
  readonly elfClass?: number;
  readonly data?: number;
  readonly type?: number;
  readonly machine?: number;
  readonly flags?: number;
  /** As QEMU: e_ehsize 8, section headers between header and program headers. */
  readonly qemu?: boolean;
  /** The count in section header 0, e_phnum 0xffff. */
  readonly extendedNumbering?: boolean;
}

/** Bytes of an ELF64 core, little-endian unless `data` is 2. */
export function buildElf(recipe: ElfRecipe): Uint8Array {
  const little = (recipe.data ?? 1) === 1;
  const notes = recipe.notes ?? [new Uint8Array(0)];
  const count = notes.length + recipe.segments.length;
  const sections = recipe.qemu || recipe.extendedNumbering ? 2 : 0;
  const sectionsAt = 64;
  const headersAt = recipe.qemu ? 64 + 64 * sections : 64;
  const headersEnd = headersAt + 56 * count;
  const extendedAt = recipe.qemu ? sectionsAt : headersEnd;
  const notesAt = headersEnd + (recipe.qemu ? 0 : 64 * sections);
  const dataAt = Math.ceil((notesAt + concat(notes).length) / 4096) * 4096;

  const head = new Uint8Array(dataAt);
  const view = new DataView(head.buffer);
  head.set([0x7f, 0x45, 0x4c, 0x46, recipe.elfClass ?? 2, recipe.data ?? 1, 1]);
  view.setUint16(16, recipe.type ?? 4, little);
  view.setUint16(18, recipe.machine ?? 62, little);
  view.setBigUint64(32, BigInt(headersAt), little);
  view.setBigUint64(40, BigInt(sections > 0 ? extendedAt : 0), little);
  view.setUint32(48, recipe.flags ?? 0, little);
  view.setUint16(52, recipe.qemu ? 8 : 64, little);
  view.setUint16(54, 56, little);
  view.setUint16(56, recipe.extendedNumbering ? 0xffff : count, little);
  if (recipe.extendedNumbering) view.setUint32(extendedAt + 44, count, little);

  const header = (index: number, type: number, fields: readonly bigint[]): void => {
    const at = headersAt + 56 * index;
    view.setUint32(at, type, little);
    fields.forEach((field, i) => {
      view.setBigUint64(at + 8 + 8 * i, field, little);
    });
  };
  let at = notesAt;
  notes.forEach((bytes, i) => {
    header(i, 4, [BigInt(at), 0n, 0n, BigInt(bytes.length), BigInt(bytes.length)]);
    head.set(bytes, at);
    at += bytes.length;
  });
  let dataOffset = dataAt;
  const offsets: number[] = [];
  const parts: Uint8Array[] = [head];
  recipe.segments.forEach((segment, i) => {
    const data = segment.data ?? new Uint8Array(0);
    offsets[i] = segment.sharesWith ? offsets[segment.sharesWith.index]! + segment.sharesWith.at : dataOffset;
    const offset = segment.noOffset ? 0xffffffffffffffffn : BigInt(offsets[i]!);
    const memorySize = BigInt(segment.memorySize ?? data.length);
    header(notes.length + i, 1, [offset, segment.vaddr ?? 0n, segment.paddr, BigInt(data.length), memorySize]);
    if (segment.sharesWith) return;
    parts.push(data);
    dataOffset += data.length;
  });
  return concat(parts);
}
