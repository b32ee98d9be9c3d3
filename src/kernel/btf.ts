/** BTF, the type information inside a kernel: as much as finds a structure's size and its members' offsets. */

import { Cursor } from '../base/cursor.ts';
import { FormatError } from '../base/errors.ts';

/** Source: Linux `include/uapi/linux/btf.h`, `struct btf_header`. Offsets inside count from the header's end. */
export const BTF_HEADER = {
  size: 24,
  magic: 0, //   u16  0xeb9f
  version: 2, // u8   1
  flags: 3, //   u8
  hdrLen: 4, //  u32  24; 32 with a layout section
  typeOff: 8, // u32
  typeLen: 12, //u32
  strOff: 16, // u32
  strLen: 20, // u32
} as const;

export const BTF_MAGIC = 0xeb9f;
/** Largest BTF that is read, in bytes. Debian's 7.2 has 5.3 MB. */
export const BTF_BYTES_MAX = 64 * 2 ** 20;

const KIND = { ptr: 2, struct: 4, union: 5, typedef: 8, volatile: 9, const: 10, restrict: 11, typeTag: 18 } as const;

/** Bytes after the 12 of the record: fixed, and for each of `vlen` elements. Indexed by kind; source as above. */
const EXTRA: readonly (readonly [fixed: number, perElement: number])[] = [
  [0, 0], // 0 void
  [4, 0], // 1 INT
  [0, 0], // 2 PTR
  [12, 0], // 3 ARRAY
  [0, 12], // 4 STRUCT
  [0, 12], // 5 UNION
  [0, 8], // 6 ENUM
  [0, 0], // 7 FWD
  [0, 0], // 8 TYPEDEF
  [0, 0], // 9 VOLATILE
  [0, 0], // 10 CONST
  [0, 0], // 11 RESTRICT
  [0, 0], // 12 FUNC
  [0, 8], // 13 FUNC_PROTO
  [4, 0], // 14 VAR
  [0, 12], // 15 DATASEC
  [0, 0], // 16 FLOAT
  [4, 0], // 17 DECL_TAG
  [0, 0], // 18 TYPE_TAG
  [0, 12], // 19 ENUM64
];

const RECORD_BYTES = 12;
const MEMBER_BYTES = 12;
/** Chains of typedefs and nestings of anonymous members are cut here. */
const DEPTH_MAX = 16;
/** Members looked at for one question. The kernel's largest structures have some hundred with all that they nest. */
const MEMBERS_MAX = 65536;

/** How many bytes the BTF whose header begins `bytes` has. @throws FormatError `BTF_HEADER` where it is none. */
export function measureBtf(bytes: Uint8Array): number {
  const header = new Cursor(bytes);
  const hdrLen = header.u32(BTF_HEADER.hdrLen);
  const end =
    hdrLen +
    Math.max(
      header.u32(BTF_HEADER.typeOff) + header.u32(BTF_HEADER.typeLen),
      header.u32(BTF_HEADER.strOff) + header.u32(BTF_HEADER.strLen),
    );
  if (header.u16(BTF_HEADER.magic) === BTF_MAGIC && hdrLen >= BTF_HEADER.size && end <= BTF_BYTES_MAX) return end;
  throw new FormatError(
    'BTF_HEADER',
    `no BTF: magic, header length ${hdrLen} or total length ${end} is out of bounds`,
    {
      hdrLen,
      end,
    },
  );
}

/** Types by name. Opening walks all records once: 10 ms for 100 000. */
export class Btf {
  readonly #types: Cursor;
  readonly #strings: Cursor;
  /** Offset of each record by type id; id 0 is void. */
  readonly #records: number[] = [0];

  /** @throws FormatError `BTF_HEADER`. A record of an unknown kind ends the walk; what came before it can be asked. */
  constructor(bytes: Uint8Array) {
    const header = new Cursor(bytes);
    measureBtf(bytes);
    const hdrLen = header.u32(BTF_HEADER.hdrLen);
    const part = (offset: number, length: number): Cursor =>
      new Cursor(header.slice(hdrLen + header.u32(offset), header.u32(length)));
    this.#types = part(BTF_HEADER.typeOff, BTF_HEADER.typeLen);
    this.#strings = part(BTF_HEADER.strOff, BTF_HEADER.strLen);
    for (let at = 0; at + RECORD_BYTES <= this.#types.length; ) {
      const extra = EXTRA[this.#kind(at)];
      if (!extra) break;
      this.#records.push(at);
      at += RECORD_BYTES + extra[0] + this.#vlen(at) * extra[1];
    }
  }

  /** Size of `struct name` (or of what the typedef `name` stands for) in bytes. */
  size(name: string): number | undefined {
    const at = this.#find(name);
    return at === undefined ? undefined : this.#types.u32(at + 8);
  }

  /** Offset in bytes of a member, such as `printk_info.caller_id`; members of anonymous members count. */
  offset(path: string): number | undefined {
    const [name = '', member = ''] = path.split('.');
    const at = this.#find(name);
    const bits = at === undefined ? undefined : this.#memberBits(at, member, { depth: 0, left: MEMBERS_MAX });
    return bits === undefined ? undefined : Math.floor(bits / 8);
  }

  /** Record of the first structure, or typedef of one, with that name. */
  #find(name: string): number | undefined {
    const wanted = new TextEncoder().encode(`${name}\0`);
    for (let id = 1; id < this.#records.length; id++) {
      const at = this.#records[id] as number;
      const kind = this.#kind(at);
      if ((kind !== KIND.struct && kind !== KIND.typedef) || !this.#isNamed(at, wanted)) continue;
      const resolved = kind === KIND.struct ? at : this.#resolve(this.#types.u32(at + 8));
      if (resolved !== undefined) return resolved;
    }
    return undefined;
  }

  /** Follows typedefs and qualifiers to a structure or union. */
  #resolve(id: number): number | undefined {
    let next = id;
    for (let depth = 0; depth < DEPTH_MAX && next > 0 && next < this.#records.length; depth++) {
      const at = this.#records[next] as number;
      const kind = this.#kind(at);
      if (kind === KIND.struct || kind === KIND.union) return at;
      if ((kind < KIND.typedef || kind > KIND.restrict) && kind !== KIND.typeTag) return undefined;
      next = this.#types.u32(at + 8);
    }
    return undefined;
  }

  /** Offset in bits of a member, also of one inside anonymous members. `bounds` ends what a hostile nesting would not. */
  #memberBits(at: number, name: string, bounds: { depth: number; left: number }): number | undefined {
    const wanted = new TextEncoder().encode(`${name}\0`);
    const bitfields = this.#types.u32(at + 4) >>> 31 === 1;
    const end = Math.min(at + RECORD_BYTES + this.#vlen(at) * MEMBER_BYTES, this.#types.length);
    for (let member = at + RECORD_BYTES; member + MEMBER_BYTES <= end && bounds.left-- > 0; member += MEMBER_BYTES) {
      const offset = this.#types.u32(member + 8);
      const bits = bitfields ? offset & 0xff_ffff : offset;
      if (this.#isNamed(member, wanted)) return bits;
      if (this.#types.u32(member) !== 0 || bounds.depth === DEPTH_MAX) continue;
      const inner = this.#resolve(this.#types.u32(member + 4));
      if (inner === undefined) continue;
      bounds.depth++;
      const innerBits = this.#memberBits(inner, name, bounds);
      bounds.depth--;
      if (innerBits !== undefined) return bits + innerBits;
    }
    return undefined;
  }

  #isNamed(at: number, wanted: Uint8Array): boolean {
    const offset = this.#types.u32(at);
    const { bytes } = this.#strings;
    for (let i = 0; i < wanted.length; i++) if (bytes[offset + i] !== wanted[i]) return false;
    return true;
  }

  /** Since 7.x the kind has seven bits and vlen 24; the bits were zero before. */
  #kind(at: number): number {
    return (this.#types.u32(at + 4) >>> 24) & 0x7f;
  }

  #vlen(at: number): number {
    return this.#types.u32(at + 4) & 0xff_ffff;
  }
}
