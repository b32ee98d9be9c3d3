import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { KernelBuilder } from '../../test/support/kernel-builder.ts';
import { countRanges, findRange } from '../base/ranges.ts';
import { planEssentialPages } from './essential-pages.ts';
import { Kernel, type KernelFacts } from './open.ts';
import { readLog } from './printk.ts';

const DIRECT_MAP = 0xffff888000000000n;

/** A kernel with everything that pass 0 looks for, sections and a node in the direct map. */
function build(): KernelBuilder {
  const builder = new KernelBuilder();
  builder.uts();
  builder.ring(Array.from({ length: 40 }, (_, i) => ({ text: `line ${i}` })));
  for (const [i, paddr] of [0x200000, 0x201000, 0x300000, 0x301000].entries()) {
    builder.write(paddr, new Uint8Array(4096));
    builder.map(DIRECT_MAP + BigInt(paddr), paddr);
    if (i === 0) builder.u64(paddr, DIRECT_MAP + 0x201000n);
  }
  const nodes = builder.image(16);
  builder.u64(nodes.paddr, DIRECT_MAP + 0x300000n);
  const online = builder.image(128);
  builder.lines.push(
    `SYMBOL(mem_section)=${(DIRECT_MAP + 0x200000n).toString(16)}`,
    'LENGTH(mem_section)=2',
    'SIZE(mem_section)=16',
    `SYMBOL(node_data)=${nodes.vaddr.toString(16)}`,
    'LENGTH(node_data)=2',
    'SIZE(pglist_data)=8000',
    `SYMBOL(node_online_map)=${online.vaddr.toString(16)}`,
    'SIZE(nodemask_t)=128',
  );
  return builder;
}

/** The kernel with nothing left but the planned pages. */
function reduce(facts: KernelFacts, ranges: readonly { start: number; end: number }[]): Kernel {
  const { physical } = facts;
  return new Kernel({
    ...facts,
    physical: {
      pageSize: physical.pageSize,
      readPhysical(target, paddr) {
        assert.ok(findRange(ranges, Math.floor(paddr / 4096)) >= 0, `paddr ${paddr.toString(16)} was not planned`);
        physical.readPhysical(target, paddr);
      },
    },
  });
}

test('the planned pages are enough for name, log, sections and nodes', () => {
  const builder = build();
  const plan = planEssentialPages(builder.facts());
  assert.deepEqual(plan.skipped, []);
  const kernel = reduce(builder.facts(), plan.ranges);
  assert.equal(kernel.readUtsname().release, '6.1.0-test');
  assert.ok(readLog(kernel.memory, kernel.printkLayout).records.length > 0);
  for (const paddr of [0x200000, 0x201000, 0x300000, 0x301000]) {
    const byte = new Uint8Array(1);
    kernel.memory.readVirtual(byte, DIRECT_MAP + BigInt(paddr));
  }
  assert.ok(countRanges(plan.ranges) < 40);
});

test('what cannot be found is skipped and said, the rest is planned', () => {
  const builder = build();
  builder.lose(0x200, 'PAGE_HOLE');
  const text = builder
    .vmcoreinfo()
    .toString()
    .replace(/SYMBOL\(node_online_map\)=.*\n/, '');
  const plan = planEssentialPages({ ...builder.facts(), vmcoreinfo: Buffer.from(text) });
  assert.deepEqual(
    plan.skipped.map(({ part }) => part),
    ['node_online_map', 'mem_section'],
  );
  assert.match(plan.skipped[0]?.reason as string, /SYMBOL\(node_online_map\)/);
  assert.ok(plan.parts.includes('log') && plan.parts.includes('node_data'));
});

test('a machine without a word about itself has an empty pass 0', () => {
  const plan = planEssentialPages({ ...new KernelBuilder().facts(), vmcoreinfo: undefined });
  assert.deepEqual(plan.ranges, []);
  assert.ok(plan.skipped.length > 0);
});

test('an architecture that is not read yet costs pass 0 and nothing else', () => {
  const plan = planEssentialPages({ ...build().facts(), arch: 'aarch64' });
  assert.deepEqual(plan.ranges, []);
  assert.match(plan.skipped[0]?.reason as string, /aarch64/);
});

test('sizes that no kernel has do not grow the plan', () => {
  const builder = build();
  const text = builder.vmcoreinfo().toString().replace('SIZE(pglist_data)=8000', 'SIZE(pglist_data)=2000000000');
  const plan = planEssentialPages({ ...builder.facts(), vmcoreinfo: Buffer.from(text) });
  assert.deepEqual(
    plan.skipped.map(({ part }) => part),
    ['node_data'],
  );
  assert.ok(countRanges(plan.ranges) < 40);
});

test('any damage ends in a plan', () => {
  const keys = [
    'SYMBOL(mem_section)',
    'LENGTH(mem_section)',
    'SIZE(mem_section)',
    'SIZE(pglist_data)',
    'LENGTH(node_data)',
  ];
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat(255)), { maxLength: 20 }),
      fc.constantFrom(...keys),
      fc.nat(2 ** 31),
      (damage, key, value) => {
        const builder = build();
        const pages = [...builder.pages().values()];
        for (const [page, at, byte] of damage) (pages[page % pages.length] as Uint8Array)[at % 4096] = byte;
        const pattern = new RegExp(`${key.replaceAll(/[()]/g, '\\$&')}=.*`);
        const vmcoreinfo = Buffer.from(builder.vmcoreinfo().toString().replace(pattern, `${key}=${value}`));
        assert.ok(countRanges(planEssentialPages({ ...builder.facts(), vmcoreinfo }).ranges) < 80000);
      },
    ),
    { numRuns: 60, seed: 20260104 },
  );
});
