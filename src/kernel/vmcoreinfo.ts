/** vmcoreinfo: the few hundred facts that a kernel leaves about itself for whoever reads its dump. */

import { FormatError } from '../base/errors.ts';

/** Longest text that is parsed, in bytes. Kernels write at most a page; 64 KiB is the largest page there is. */
export const VMCOREINFO_BYTES_MAX = 65536;
/** Most lines that are kept. Kernels of 2026 write about 130. */
export const VMCOREINFO_LINES_MAX = 4096;

/** Offsets, sizes and lengths past this are damage: no kernel structure is that large. */
const LAYOUT_VALUE_MAX = 2 ** 31;

/**
 * The parsed note.
 *
 * The typed getters give `undefined` where the kernel did not tell, or told something that is no number of that kind;
 * {@link Vmcoreinfo.need} throws instead and names the line.
 * Source: Linux `kernel/vmcore_info.c` (until 6.8 `kernel/crash_core.c`), `include/linux/vmcore_info.h`.
 */
export class Vmcoreinfo {
  readonly #values: ReadonlyMap<string, string>;

  constructor(values: ReadonlyMap<string, string>) {
    this.#values = values;
  }

  /** Text behind `KEY=`, as written. */
  get(key: string): string | undefined {
    return this.#values.get(key);
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** All lines in the order of the note. */
  entries(): IterableIterator<[string, string]> {
    return this.#values.entries();
  }

  /** `SYMBOL(name)`: runtime virtual address. For `mem_section` (4.15+) and `vmemmap` it is the value of the pointer. */
  symbol(name: string): bigint | undefined {
    return parseHex(this.#values.get(`SYMBOL(${name})`));
  }

  /** `OFFSET(struct.member)` in bytes. */
  offset(member: string): number | undefined {
    return parseLayoutValue(this.#values.get(`OFFSET(${member})`));
  }

  /** `SIZE(struct)` in bytes. */
  size(struct: string): number | undefined {
    return parseLayoutValue(this.#values.get(`SIZE(${struct})`));
  }

  /** `LENGTH(array)`: elements. */
  length(array: string): number | undefined {
    return parseLayoutValue(this.#values.get(`LENGTH(${array})`));
  }

  /** `NUMBER(name)`: signed decimal, or hex where it begins with 0x. */
  number(name: string): bigint | undefined {
    return parseNumber(this.#values.get(`NUMBER(${name})`));
  }

  /** `uname -r` of the kernel. */
  get osRelease(): string | undefined {
    return this.#values.get('OSRELEASE');
  }

  /** Bytes, where the line holds a power of two from 4096 to 65536. */
  get pageSize(): number | undefined {
    const size = parseLayoutValue(this.#values.get('PAGESIZE'));
    return size !== undefined && size >= 4096 && size <= 65536 && (size & (size - 1)) === 0 ? size : undefined;
  }

  /** When the kernel crashed, seconds since 1970. Absent in a snapshot of a kernel that did not run its crash path. */
  get crashTimeSeconds(): number | undefined {
    const seconds = parseNumber(this.#values.get('CRASHTIME'));
    return seconds !== undefined && seconds > 0n && seconds < 2n ** 40n ? Number(seconds) : undefined;
  }

  /** Bytes by which the kernel image was moved from its link address. */
  get kaslrOffset(): bigint | undefined {
    return parseHex(this.#values.get('KERNELOFFSET'));
  }

  /** The value of a getter, or a `FormatError` that names the missing line. */
  need(kind: 'SYMBOL', name: string): bigint;
  need(kind: 'OFFSET' | 'SIZE' | 'LENGTH', name: string): number;
  need(kind: 'SYMBOL' | 'OFFSET' | 'SIZE' | 'LENGTH', name: string): bigint | number {
    const value =
      kind === 'SYMBOL'
        ? this.symbol(name)
        : kind === 'OFFSET'
          ? this.offset(name)
          : kind === 'SIZE'
            ? this.size(name)
            : this.length(name);
    if (value !== undefined) return value;
    throw new FormatError('VMCOREINFO_KEY', `vmcoreinfo has no usable line ${kind}(${name})`, {
      key: `${kind}(${name})`,
    });
  }
}

/**
 * Parses the text of the note (without the note's header). Any bytes give a value: lines without `=` are passed over, a last
 * line without newline is one that the kernel's buffer cut and is ignored, the first of two equal keys counts.
 */
export function parseVmcoreinfo(bytes: Uint8Array): Vmcoreinfo {
  const values = new Map<string, string>();
  const end = Math.min(bytes.length, VMCOREINFO_BYTES_MAX);
  let line = '';
  for (let i = 0; i < end && values.size < VMCOREINFO_LINES_MAX; i++) {
    const byte = bytes[i] as number;
    if (byte === 0) break;
    if (byte !== 0x0a) {
      line += String.fromCharCode(byte);
      continue;
    }
    const equals = line.indexOf('=');
    const key = line.slice(0, equals);
    if (equals > 0 && !values.has(key)) values.set(key, line.slice(equals + 1));
    line = '';
  }
  return new Vmcoreinfo(values);
}

/** Hex without 0x, at most 64 bits. */
function parseHex(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^(0x)?[0-9a-fA-F]{1,16}$/.test(text)) return undefined;
  return BigInt(text.startsWith('0x') ? text : `0x${text}`);
}

function parseNumber(text: string | undefined): bigint | undefined {
  if (text === undefined || !/^(-?[0-9]{1,20}|0x[0-9a-fA-F]{1,16})$/.test(text)) return undefined;
  return BigInt(text);
}

function parseLayoutValue(text: string | undefined): number | undefined {
  if (text === undefined || !/^[0-9]{1,10}$/.test(text)) return undefined;
  const value = Number(text);
  return value < LAYOUT_VALUE_MAX ? value : undefined;
}
