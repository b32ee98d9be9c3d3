/** The kernel's own symbol table, as far as vmcoreinfo leads to it. */

import type { Vaddr } from '../base/address.ts';
import { Cursor } from '../base/cursor.ts';
import { FormatError } from '../base/errors.ts';
import { MemoryReader, type VirtualMemory } from './memory.ts';
import type { Vmcoreinfo } from './vmcoreinfo.ts';

/** Most symbols of a kernel that are believed; Debian's 7.2 has 190 000. */
const SYMBOLS_MAX = 2 ** 22;
const TOKENS = 256;
/** A fragment is at most 64 bytes, with its NUL. */
const TOKEN_TABLE_BYTES_MAX = TOKENS * 65;
const NAME_BYTES_MAX = 512;
/** All compressed names; Debian's 7.2 has 2.6 MB. */
const NAMES_BYTES_MAX = 2 ** 25;
const WINDOW_BYTES = 4096;

/**
 * Finds the addresses of the symbols `names`, in one pass over all. About 50 ms for 150 000 symbols.
 *
 * The tables' addresses come from vmcoreinfo (6.0 and later, and backports). How lengths and addresses are encoded is found
 * by trying: `_stext` must come out where vmcoreinfo says it is.
 * Source: Linux `kernel/kallsyms.c`, `scripts/kallsyms.c`; encodings of 6.1 (73bbb94466fd: long names), until 6.14
 * (absolute per-CPU), 7.0 (place-relative).
 *
 * @returns what was found; `undefined` where vmcoreinfo does not lead to the tables.
 * @throws FormatError `KALLSYMS` where no encoding fits; NoDataError where a table's page is not there.
 */
export function findSymbols(
  memory: VirtualMemory,
  vmcoreinfo: Vmcoreinfo,
  names: readonly string[],
): Map<string, Vaddr> | undefined {
  const tables = findTables(vmcoreinfo);
  const stext = vmcoreinfo.symbol('_stext');
  if (!tables || stext === undefined) return undefined;
  const reader = new MemoryReader(memory);
  const count = reader.u32(tables.numSyms);
  if (count === 0 || count > SYMBOLS_MAX)
    throw new FormatError('KALLSYMS', `kallsyms_num_syms is ${count}, expected 1 to ${SYMBOLS_MAX}`, { count });
  const tokens = readTokens(reader, tables);
  const base = tables.relativeBase === undefined ? undefined : reader.u64(tables.relativeBase);
  for (const longLengths of [true, false]) {
    const indexes = findIndexes({ memory, tables, count, tokens, longLengths }, ['_stext', ...names]);
    const stextIndex = indexes.get('_stext');
    if (stextIndex === undefined) continue;
    const decode = ENCODINGS.find((encoding) => encoding(tables, base, stextIndex, reader) === stext);
    if (!decode) continue;
    const found = new Map<string, Vaddr>();
    for (const [name, index] of indexes) found.set(name, decode(tables, base, index, reader) as Vaddr);
    return found;
  }
  throw new FormatError('KALLSYMS', `kallsyms: no known encoding of ${count} symbols puts _stext at its place`, {
    count,
  });
}

interface Tables {
  readonly names: Vaddr;
  readonly numSyms: Vaddr;
  readonly tokenTable: Vaddr;
  readonly tokenIndex: Vaddr;
  readonly offsets: Vaddr;
  readonly relativeBase: Vaddr | undefined;
}

function findTables(vmcoreinfo: Vmcoreinfo): Tables | undefined {
  const names = vmcoreinfo.symbol('kallsyms_names');
  const numSyms = vmcoreinfo.symbol('kallsyms_num_syms');
  const tokenTable = vmcoreinfo.symbol('kallsyms_token_table');
  const tokenIndex = vmcoreinfo.symbol('kallsyms_token_index');
  const offsets = vmcoreinfo.symbol('kallsyms_offsets');
  if (!names || !numSyms || !tokenTable || !tokenIndex || !offsets) return undefined;
  return { names, numSyms, tokenTable, tokenIndex, offsets, relativeBase: vmcoreinfo.symbol('kallsyms_relative_base') };
}

type Encoding = (tables: Tables, base: bigint | undefined, index: number, reader: MemoryReader) => bigint | undefined;

/** From a symbol's index to its address: per-CPU absolute, relative to the base, relative to the place. */
const ENCODINGS: readonly Encoding[] = [
  (tables, base, index, reader) => {
    const offset = signed(reader.u32(tables.offsets + BigInt(index * 4)));
    return base === undefined ? undefined : offset >= 0n ? offset : base - 1n - offset;
  },
  (tables, base, index, reader) => base && base + BigInt(reader.u32(tables.offsets + BigInt(index * 4))),
  (tables, _base, index, reader) => {
    const place = tables.offsets + BigInt(index * 4);
    return BigInt.asUintN(64, place + signed(reader.u32(place)));
  },
];

function signed(word: number): bigint {
  return BigInt(word | 0);
}

/** The 256 fragments that names are made of. */
function readTokens(reader: MemoryReader, tables: Tables): readonly string[] {
  const index = new Cursor(reader.bytes(tables.tokenIndex, 2 * TOKENS));
  const starts = Array.from({ length: TOKENS }, (_, token) => index.u16(2 * token));
  const length = Math.min(Math.max(...starts) + 65, TOKEN_TABLE_BYTES_MAX);
  const table = new Cursor(reader.bytes(tables.tokenTable, length));
  return starts.map((start) => table.text(start, Math.min(64, Math.max(0, length - start))));
}

interface NameWalk {
  readonly memory: VirtualMemory;
  readonly tables: Tables;
  readonly count: number;
  readonly tokens: readonly string[];
  /** Since 6.1 a length with bit 7 set goes on in the next byte. */
  readonly longLengths: boolean;
}

/**
 * Indexes of the first symbol of each wanted name. The walk ends with the last symbol, or where all are found. Names are put
 * together only where their length is a wanted one, which makes the walk five times as fast.
 */
function findIndexes(walk: NameWalk, wanted: readonly string[]): Map<string, number> {
  const missing = new Set(wanted);
  const found = new Map<string, number>();
  const tokenLengths = Uint8Array.from(walk.tokens, (token) => token.length);
  const isWantedLength = new Uint8Array(NAME_BYTES_MAX * 64);
  // The first character is the type letter.
  for (const name of wanted) isWantedLength[name.length + 1] = 1;
  const bytes = new ByteWindow(walk.memory, walk.tables.names);
  const name = new Uint8Array(NAME_BYTES_MAX);
  for (let index = 0; index < walk.count && missing.size > 0 && bytes.taken < NAMES_BYTES_MAX; index++) {
    let length = bytes.next();
    if (walk.longLengths && length > 127) length = (length & 127) | (bytes.next() << 7);
    if (length === 0 || length > NAME_BYTES_MAX) break;
    let characters = 0;
    for (let i = 0; i < length; i++) {
      const token = bytes.next();
      name[i] = token;
      characters += tokenLengths[token] as number;
    }
    if (isWantedLength[characters] === 0) continue;
    let text = '';
    for (let i = 0; i < length; i++) text += walk.tokens[name[i] as number];
    const plain = text.slice(1);
    if (missing.delete(plain)) found.set(plain, index);
  }
  return found;
}

/** Virtual memory byte by byte, read page by page, so that none reaches past what is needed. */
class ByteWindow {
  readonly #memory: VirtualMemory;
  readonly #window = new Uint8Array(WINDOW_BYTES);
  #vaddr: bigint;
  #used = 0;
  #filled = 0;
  /** Bytes read from memory so far. */
  taken = 0;

  constructor(memory: VirtualMemory, vaddr: Vaddr) {
    this.#memory = memory;
    this.#vaddr = vaddr;
  }

  next(): number {
    if (this.#used === this.#filled) {
      const length = 4096 - Number(this.#vaddr & 4095n);
      this.#memory.readVirtual(this.#window.subarray(0, length), this.#vaddr);
      this.#vaddr += BigInt(length);
      this.#used = 0;
      this.#filled = length;
      this.taken += length;
    }
    return this.#window[this.#used++] as number;
  }
}
