import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildElf } from '../../test/support/elf-builder.ts';
import { buildKdump, buildPage } from '../../test/support/kdump-builder.ts';
import { DumpError } from '../base/errors.ts';
import { seededRandom } from '../base/random.ts';
import { bytesSource } from '../base/source.ts';
import { nodeCodecs } from '../host/codecs.ts';
import { KNOWN_FORMATS } from './known-formats.ts';
import { openVmcore } from './open.ts';
import type { Vmcore } from './vmcore.ts';

const open = (bytes: Uint8Array): Vmcore => openVmcore(bytesSource(bytes, 'input'), { codecs: nodeCodecs() });

test('a dump is known by its first bytes', () => {
  assert.equal(open(buildKdump({ pages: [{ pfn: 1, bytes: buildPage(1) }] })).format, 'kdump');
  assert.equal(open(buildElf({ segments: [{ paddr: 0n, data: buildPage(0) }] })).format, 'elf');
});

test('formats that are known by name and not read say what to do', () => {
  for (const { name, hint, magics, offset = 0 } of KNOWN_FORMATS) {
    for (const magic of magics) {
      const bytes = new Uint8Array(65536);
      bytes.set(magic, offset);
      assert.throws(
        () => open(bytes),
        (error) => error instanceof DumpError && error.message.includes(name) && error.hint === hint,
        name,
      );
    }
  }
});

test('anything else is named by its first bytes', () => {
  assert.throws(() => open(new TextEncoder().encode('hello world')), { code: 'FORMAT_UNKNOWN', message: /68656c6c6f/ });
  assert.throws(() => open(new Uint8Array(0)), { code: 'FORMAT_UNKNOWN', message: /nothing/ });
});

test('damaged bytes end in a value or a DumpError', () => {
  const page = new Uint8Array(4096);
  const walk = (bytes: Uint8Array): void => {
    try {
      const vmcore = open(bytes);
      let budget = 200;
      for (const run of vmcore.walkPages()) {
        if (budget-- === 0) break;
        if (run.presence === 'stored') vmcore.readPage(run.start, page);
      }
    } catch (error) {
      if (!(error instanceof DumpError) || error.name === 'AssertionError') throw error;
    }
  };
  const inputs = [
    buildKdump({ pages: Array.from({ length: 40 }, (_, pfn) => ({ pfn, bytes: buildPage(pfn), codec: 'zlib' })) }),
    buildKdump({ metadataLast: true, pages: [{ pfn: 5, bytes: buildPage(5), codec: 'zstd' }], vmcoreinfo: 'A=1\n' }),
    buildElf({ segments: [{ paddr: 0n, data: buildPage(0) }], qemu: true, extendedNumbering: true }),
  ];
  const seed = 20_261_121;
  const random = seededRandom(seed);
  for (const input of inputs) {
    for (let round = 0; round < 400; round++) {
      const bytes = input.slice();
      // Mostly in the tables, where a wrong number does most.
      const area = round % 2 === 0 ? 512 : bytes.length;
      for (let i = 0; i <= round % 4; i++) {
        const value = [0, 1, 0x7f, 0x80, 0xff, random.u32() & 0xff][random.u32() % 6] as number;
        bytes[(round % 3 === 0 ? 4096 : 0) + (random.u32() % Math.min(area, bytes.length - 4096))] = value;
      }
      walk(round % 7 === 0 ? bytes.subarray(0, random.u32() % bytes.length) : bytes);
    }
  }
});
