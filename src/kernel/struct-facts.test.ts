import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelBuilder, PRINTK_LINES } from '../../test/support/kernel-builder.ts';
import { DumpError, FormatError } from '../base/errors.ts';
import { Btf, measureBtf } from './btf.ts';
import { findSymbols } from './kallsyms.ts';
import { logText } from './log-text.ts';
import { Kernel } from './open.ts';
import { readLog } from './printk.ts';

interface BuiltStruct {
  readonly name: string;
  readonly size: number;
  /** Member name ('' = anonymous), type id, bit offset. */
  readonly members: readonly (readonly [name: string, type: number, bits: number])[];
}

/** BTF of: id 1 INT, then the structures in order, then the typedefs (name, target id). */
function buildBtf(structs: readonly BuiltStruct[], typedefs: readonly (readonly [string, number])[] = []): Buffer {
  const strings: Buffer[] = [Buffer.from('\0')];
  let stringsLength = 1;
  const addName = (name: string): number => {
    if (name === '') return 0;
    const at = stringsLength;
    strings.push(Buffer.from(`${name}\0`));
    stringsLength += name.length + 1;
    return at;
  };
  const words: number[] = [addName('int'), 1 << 24, 4, 32];
  for (const { name, size, members } of structs) {
    words.push(addName(name), (4 << 24) | members.length, size);
    for (const [member, type, bits] of members) words.push(addName(member), type, bits);
  }
  for (const [name, target] of typedefs) words.push(addName(name), 8 << 24, target);
  const types = Buffer.alloc(words.length * 4);
  words.forEach((word, i) => {
    types.writeUInt32LE(word >>> 0, 4 * i);
  });
  const header = Buffer.alloc(24);
  header.writeUInt16LE(0xeb9f);
  header.writeUInt8(1, 2);
  header.writeUInt32LE(24, 4);
  header.writeUInt32LE(types.length, 12);
  header.writeUInt32LE(types.length, 16);
  header.writeUInt32LE(stringsLength, 20);
  return Buffer.concat([header, types, ...strings]);
}

const SAMPLE = buildBtf(
  [
    {
      name: 'inner',
      size: 16,
      members: [
        ['x', 1, 0],
        ['y', 1, 64],
      ],
    },
    {
      name: 'outer',
      size: 64,
      members: [
        ['a', 1, 0],
        ['', 2, 128],
        ['b', 1, 480],
      ],
    },
  ],
  [
    ['alias_t', 2],
    ['chain_t', 4],
  ],
);

test('sizes and offsets, through typedefs and anonymous members', () => {
  const btf = new Btf(SAMPLE);
  assert.equal(btf.size('outer'), 64);
  assert.equal(btf.offset('outer.b'), 60);
  assert.equal(btf.offset('outer.y'), 24);
  assert.equal(btf.offset('alias_t.y'), 8);
  assert.equal(btf.size('chain_t'), 16);
  assert.equal(btf.offset('outer.nothing'), undefined);
  assert.equal(btf.size('nothing'), undefined);
});

test('a structure that contains itself, and a typedef of itself, end', () => {
  const selfish = buildBtf(
    [
      {
        name: 's',
        size: 8,
        members: [
          ['', 2, 0],
          ['', 2, 8],
        ],
      },
    ],
    [['t', 3]],
  );
  const btf = new Btf(selfish);
  const wide = Array.from({ length: 500 }, () => ['', 2, 0] as const);
  assert.equal(new Btf(buildBtf([{ name: 's', size: 8, members: wide }])).offset('s.x'), undefined);
  assert.equal(btf.size('t'), undefined);
  assert.equal(btf.offset('s.x'), undefined);
});

test('what is no BTF is refused; any damage ends in a value or a DumpError', () => {
  assert.throws(() => measureBtf(new Uint8Array(24)), FormatError);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(SAMPLE.length - 1), fc.nat(255)), { maxLength: 8 }), (damage) => {
      const bytes = Uint8Array.from(SAMPLE);
      for (const [at, byte] of damage) bytes[at] = byte;
      try {
        const btf = new Btf(bytes);
        btf.offset('outer.y');
        btf.size('chain_t');
      } catch (error) {
        assert.ok(error instanceof DumpError, String(error));
      }
    }),
    { numRuns: 300, seed: 20260103 },
  );
});

type Encoding = 'percpu' | 'relative' | 'place';

/** kallsyms whose tokens are single characters, but for token 1, which is `__`. */
function buildKallsyms(
  builder: KernelBuilder,
  symbols: readonly (readonly [string, bigint])[],
  encoding: Encoding,
): void {
  const fragments = Array.from({ length: 256 }, (_, i) => (i === 1 ? '__' : String.fromCharCode(i || 255)));
  const table = builder.image(700);
  const index = builder.image(512);
  let at = 0;
  fragments.forEach((fragment, i) => {
    builder.write(table.paddr + at, Buffer.from(`${fragment}\0`, 'latin1'));
    builder.write(index.paddr + 2 * i, Buffer.from([at & 255, at >> 8]));
    at += fragment.length + 1;
  });
  const names: number[] = [];
  for (const [name] of symbols) {
    const tokens = [...`T${name}`.replaceAll('__', '\x01')].map((char) => char.charCodeAt(0));
    names.push(
      ...(tokens.length > 127 ? [(tokens.length & 127) | 128, tokens.length >> 7] : [tokens.length]),
      ...tokens,
    );
  }
  const namesAt = builder.image(names.length);
  builder.write(namesAt.paddr, Uint8Array.from(names));
  const numSyms = builder.image(4);
  builder.u32(numSyms.paddr, symbols.length);
  const base = 0xffffffff81000000n;
  const baseAt = builder.image(8);
  builder.u64(baseAt.paddr, base);
  const offsets = builder.image(4 * symbols.length);
  symbols.forEach(([, address], i) => {
    const place = offsets.vaddr + BigInt(4 * i);
    const offset = encoding === 'percpu' ? base - 1n - address : address - (encoding === 'place' ? place : base);
    builder.u32(offsets.paddr + 4 * i, Number(BigInt.asUintN(32, offset)));
  });
  for (const [key, { vaddr }] of Object.entries({
    names: namesAt,
    num_syms: numSyms,
    token_table: table,
    token_index: index,
    offsets,
    ...(encoding === 'place' ? {} : { relative_base: baseAt }),
  }))
    builder.lines.push(`SYMBOL(kallsyms_${key})=${vaddr.toString(16)}`);
}

const STEXT = 0xffffffff81000040n;

test('symbols by each encoding of addresses, among them a name longer than 127 characters', () => {
  const long = `long_${'n'.repeat(200)}`;
  for (const encoding of ['percpu', 'relative', 'place'] as const) {
    const builder = new KernelBuilder();
    builder.lines.push(`SYMBOL(_stext)=${STEXT.toString(16)}`);
    buildKallsyms(
      builder,
      [
        ['_text', STEXT - 64n],
        ['_stext', STEXT],
        [long, STEXT + 16n],
        ['__start_BTF', STEXT + 0x1000n],
      ],
      encoding,
    );
    const kernel = new Kernel(builder.facts());
    const found = findSymbols(kernel.memory, kernel.vmcoreinfo, ['__start_BTF', long, 'absent']);
    assert.deepEqual(
      found,
      new Map([
        ['_stext', STEXT],
        [long, STEXT + 16n],
        ['__start_BTF', STEXT + 0x1000n],
      ]),
      encoding,
    );
  }
});

test('tables that contradict _stext are refused, tables that are not named are not there', () => {
  const builder = new KernelBuilder();
  builder.lines.push(`SYMBOL(_stext)=${(STEXT + 1n).toString(16)}`);
  buildKallsyms(builder, [['_stext', STEXT]], 'relative');
  const kernel = new Kernel(builder.facts());
  assert.throws(() => findSymbols(kernel.memory, kernel.vmcoreinfo, ['x']), FormatError);
  const bare = new Kernel(new KernelBuilder().facts());
  assert.equal(findSymbols(bare.memory, bare.vmcoreinfo, ['x']), undefined);
});

test('a log whose layout vmcoreinfo was cut off from is read by kallsyms and BTF', () => {
  const builder = new KernelBuilder();
  const ring = builder.ring([{ text: 'found all the same', callerId: 5 }]);
  const btf = buildBtf(
    [
      { name: 'printk_info', size: 88, members: [['caller_id', 1, 160]] },
      { name: 'prb_desc', size: 24, members: [] },
      { name: 'counter_struct', size: 8, members: [['counter', 1, 0]] },
    ],
    [['atomic_long_t', 4]],
  );
  const at = builder.image(btf.length);
  builder.write(at.paddr, btf);
  builder.lines.push(`SYMBOL(_stext)=${STEXT.toString(16)}`);
  buildKallsyms(
    builder,
    [
      ['_stext', STEXT],
      ['__start_BTF', at.vaddr],
      ['prb', ring.prb],
    ],
    'relative',
  );
  const cut = ['SIZE(prb_desc)=24', 'OFFSET(printk_info.caller_id)=20', 'OFFSET(atomic_long_t.counter)=0'];
  const lines = builder.lines.filter((line) => !line.startsWith('SYMBOL(prb)') && !cut.includes(line));
  assert.equal(lines.length, builder.lines.length - 1 - cut.filter((line) => PRINTK_LINES.includes(line)).length);
  const vmcoreinfo = Buffer.from(`${lines.join('\n')}\n`);
  const kernel = new Kernel({ ...builder.facts(), vmcoreinfo });
  const { records } = readLog(kernel.memory, kernel.printkLayout);
  assert.deepEqual(records.map(logText), ['found all the same']);
  assert.deepEqual(records[0]?.caller, { kind: 'task', id: 5 });
});

test('where neither vmcoreinfo nor the kernel tells, the missing line is named', () => {
  const builder = new KernelBuilder();
  const kernel = new Kernel(builder.facts());
  assert.throws(() => kernel.printkLayout, /SYMBOL\(prb\)/);
});
