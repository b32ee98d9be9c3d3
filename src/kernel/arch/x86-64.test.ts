import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  KernelBuilder,
  type KernelBuilderOptions,
  PRESENT,
  PROT_NONE,
  PSE,
  START_KERNEL_MAP,
} from '../../../test/support/kernel-builder.ts';
import { NoDataError, UnsupportedError } from '../../base/errors.ts';
import type { VirtualSegment } from '../../format/vmcore.ts';
import { Kernel } from '../open.ts';
import type { AddressSpace } from './arch.ts';
import { findArch, getArch } from './table.ts';

const VMALLOC = { 4: 0xffffc90000000000n, 5: 0xffa0000000000000n } as const;

function space(builder: KernelBuilder, segments?: readonly VirtualSegment[]): AddressSpace {
  return new Kernel({ ...builder.facts(), segments }).addressSpace;
}

const isNotMapped = (error: unknown): boolean => error instanceof NoDataError && error.code === 'NOT_MAPPED';

for (const levels of [4, 5] as const) {
  test(`${levels} levels: leaves of 4 KiB, 2 MiB and 1 GiB`, () => {
    const builder = new KernelBuilder({ levels });
    const base = VMALLOC[levels];
    builder.map(base, 0x123000);
    builder.map(base + 0x40000000n, 0x7_0000_0000, '1G');
    builder.map(base + 0x80200000n, 0x40600000, '2M');
    const { translate } = { translate: (vaddr: bigint) => space(builder).translate(vaddr) };
    assert.deepEqual(translate(base + 0x10n), { paddr: 0x123010, length: 4096 - 0x10 });
    assert.deepEqual(translate(base + 0x40000000n + 0x1234567n), {
      paddr: 0x7_0000_0000 + 0x1234567,
      length: 2 ** 30 - 0x1234567,
    });
    assert.deepEqual(translate(base + 0x80200000n + 0x1fffffn), { paddr: 0x40600000 + 0x1fffff, length: 1 });
    assert.throws(() => translate(base + 0x1000n), isNotMapped);
  });
}

test('the image lies phys_base above its link address, phys_base may be negative', () => {
  for (const physBase of [0x1000000, -0x200000, 0x3fe00000]) {
    const builder = new KernelBuilder({ physBase });
    const { vaddr, paddr } = builder.image(64);
    const translated = space(builder);
    assert.equal(translated.physBase, physBase);
    assert.equal(translated.kernelRoot, builder.root);
    assert.equal(translated.translate(vaddr).paddr, paddr);
  }
});

test("vmcoreinfo's phys_base is believed before the header's", () => {
  const builder = new KernelBuilder();
  const facts = { ...builder.facts(), headerPhysBase: 0x5000000 };
  assert.equal(new Kernel(facts).physBase, builder.physBase);
  const silent = builder
    .vmcoreinfo()
    .toString()
    .replace(/NUMBER\(phys_base\)=.*\n/, '');
  const vmcoreinfo = Buffer.from(silent);
  assert.equal(new Kernel({ ...facts, vmcoreinfo, headerPhysBase: builder.physBase }).physBase, builder.physBase);
  const text = { vaddr: START_KERNEL_MAP + 0x1000000n, paddr: builder.imagePaddr(0x1000000), size: 0x800000 };
  const bySegment = new Kernel({ ...builder.facts(), vmcoreinfo, segments: [text] });
  assert.equal(bySegment.physBase, builder.physBase);
});

test('the bit of memory encryption is no part of an address', () => {
  const options: KernelBuilderOptions = { smeMask: 1n << 47n };
  const builder = new KernelBuilder(options);
  builder.map(VMALLOC[4], 0x123000);
  assert.equal(space(builder).translate(VMALLOC[4]).paddr, 0x123000);
});

test('PROT_NONE pages are there, with their address plain or inverted', () => {
  const builder = new KernelBuilder();
  const inverted = (~0x123000n & 0x000ffffffffff000n) | PROT_NONE;
  builder.mapRaw(VMALLOC[4], inverted);
  builder.mapRaw(VMALLOC[4] + 0x1000n, 0x456000n | PROT_NONE);
  builder.mapRaw(VMALLOC[4] + 0x2000n, 0x789000n);
  builder.mapRaw(VMALLOC[4] + 0x200000n, 0x600000n | PSE, '2M');
  const translated = space(builder);
  assert.equal(translated.translate(VMALLOC[4]).paddr, 0x123000);
  assert.equal(translated.translate(VMALLOC[4] + 0x1000n).paddr, 0x456000);
  assert.throws(() => translated.translate(VMALLOC[4] + 0x2000n), isNotMapped);
  assert.equal(translated.translate(VMALLOC[4] + 0x200000n).paddr, 0x600000);
});

test('bit 7 of a last-level entry is PAT, of a top-level one nothing', () => {
  const builder = new KernelBuilder();
  builder.mapRaw(VMALLOC[4], 0x123000n | PRESENT | PSE);
  assert.deepEqual(space(builder).translate(VMALLOC[4]), { paddr: 0x123000, length: 4096 });
});

test('an address that is not canonical is not mapped', () => {
  assert.throws(() => space(new KernelBuilder()).translate(0x0080000000000000n), isNotMapped);
});

test('a missing table: symbols of the image and segments still translate, others say what is missing', () => {
  const builder = new KernelBuilder();
  const { vaddr } = builder.image(64);
  builder.lines.push(`SYMBOL(prb)=${vaddr.toString(16)}`);
  builder.map(VMALLOC[4], 0x123000);
  builder.lose(builder.root / 4096, 'PAGE_HOLE');
  const segments = [
    { vaddr: 0xffff888000000000n, paddr: 0, size: 2 ** 30 },
    { vaddr: 0x1000n, paddr: 0x1000, size: 2 ** 40 },
  ];
  const translated = space(builder, segments);
  assert.equal(translated.translate(vaddr).paddr, Number(vaddr - START_KERNEL_MAP) + builder.physBase);
  assert.equal(translated.translate(0xffff888000001000n).paddr, 0x1000);
  const isHole = (error: unknown): boolean =>
    error instanceof NoDataError && error.code === 'PAGE_HOLE' && error.message.includes('PGD');
  assert.throws(() => translated.translate(VMALLOC[4]), isHole);
  assert.throws(() => translated.translate(0x2000n), isHole, 'segments below the kernel half are not believed');
});

test('tables that lead in circles end after as many steps as there are levels', () => {
  const builder = new KernelBuilder();
  const self = BigInt(builder.root) | PRESENT;
  for (let i = 0; i < 512; i++) builder.u64(builder.root + 8 * i, self);
  assert.equal(space(builder).translate(VMALLOC[4]).paddr, builder.root);
});

test('architectures that are not read are named', () => {
  assert.equal(findArch('aarch64'), undefined);
  assert.throws(
    () => getArch('s390x'),
    (error: unknown) => error instanceof UnsupportedError && error.message.includes('s390x'),
  );
});
