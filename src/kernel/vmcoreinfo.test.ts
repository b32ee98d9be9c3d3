import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FormatError } from '../base/errors.ts';
import { parseVmcoreinfo, VMCOREINFO_LINES_MAX, type Vmcoreinfo } from './vmcoreinfo.ts';

const parse = (text: string): Vmcoreinfo => parseVmcoreinfo(Buffer.from(text, 'latin1'));

test('each kind of line has its number base', () => {
  const info = parse(
    [
      'OSRELEASE=6.1.0-56-cloud-amd64',
      'PAGESIZE=4096',
      'SYMBOL(_stext)=ffffffff8ba00000',
      'OFFSET(prb_desc.state_var)=10',
      'SIZE(page)=64',
      'LENGTH(mem_section)=2048',
      'NUMBER(phys_base)=-2097152',
      'NUMBER(VMALLOC_START)=0xffffcd6e00000000',
      'KERNELOFFSET=aa00000',
      'CRASHTIME=1795230218',
      '',
    ].join('\n'),
  );
  assert.equal(info.osRelease, '6.1.0-56-cloud-amd64');
  assert.equal(info.pageSize, 4096);
  assert.equal(info.symbol('_stext'), 0xffffffff8ba00000n);
  assert.equal(info.offset('prb_desc.state_var'), 10);
  assert.equal(info.size('page'), 64);
  assert.equal(info.length('mem_section'), 2048);
  assert.equal(info.number('phys_base'), -2097152n);
  assert.equal(info.number('VMALLOC_START'), 0xffffcd6e00000000n);
  assert.equal(info.kaslrOffset, 0xaa00000n);
  assert.equal(info.crashTimeSeconds, 1795230218);
});

test('a last line that the buffer cut is ignored', () => {
  const info = parse('SIZE(page)=64\nSYMBOL(prb)=ffffffff8d46');
  assert.equal(info.size('page'), 64);
  assert.equal(info.symbol('prb'), undefined);
});

test('values that are no numbers of their kind are absent', () => {
  const info = parse(
    'SYMBOL(a)=xyz\nOFFSET(b.c)=-1\nSIZE(d)=99999999999\nNUMBER(e)=12x\nPAGESIZE=5000\nCRASHTIME=-5\n',
  );
  assert.equal(info.symbol('a'), undefined);
  assert.equal(info.offset('b.c'), undefined);
  assert.equal(info.size('d'), undefined);
  assert.equal(info.number('e'), undefined);
  assert.equal(info.pageSize, undefined);
  assert.equal(info.crashTimeSeconds, undefined);
});

test('a missing line is named', () => {
  assert.throws(
    () => parse('').need('OFFSET', 'printk_info.seq'),
    (error: unknown) => error instanceof FormatError && error.message.includes('OFFSET(printk_info.seq)'),
  );
});

test('any bytes give a value of bounded size', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      assert.ok([...parseVmcoreinfo(bytes).entries()].length <= VMCOREINFO_LINES_MAX);
    }),
    { numRuns: 200 },
  );
  const long = parse(Array.from({ length: 20000 }, (_, i) => `K${i}=1\n`).join(''));
  assert.equal([...long.entries()].length, VMCOREINFO_LINES_MAX);
});
