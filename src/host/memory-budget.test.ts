import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { forecastMemory, readKernelBytes, SPARE_WARN_BYTES, suggestReservation } from './memory-budget.ts';

const MIB = 2 ** 20;

/** Debian's 6.12 cloud kernel with a runtime image of 42 MB. */
const FACTS = {
  reservedBytes: 192 * MIB,
  kernelBytes: 34.3 * MIB,
  initramfsBytes: 42.7 * MIB,
  moduleBytes: 0.5 * MIB,
};

test('the parts add up to what is reserved', () => {
  const budget = forecastMemory(FACTS);
  const { kernelBytes, initramfsBytes, bootBytes, runtimeBytes, stage1Bytes, spareBytes } = budget;
  const sum = kernelBytes + initramfsBytes + bootBytes + runtimeBytes + stage1Bytes + spareBytes;
  assert.equal(Math.round(sum), 192 * MIB);
  assert.equal(budget.verdict, 'good');
});

test('too little is refused, a little more is warned of, at 16 and 8 MB', () => {
  const spare = forecastMemory(FACTS).spareBytes;
  // A page of reserved memory costs its struct page too.
  const at = (wanted: number) =>
    forecastMemory({ ...FACTS, reservedBytes: FACTS.reservedBytes - (spare - wanted * MIB) / (1 - 1 / 64) });
  assert.deepEqual(
    [17, 15, 9, 7].map((wanted) => at(wanted).verdict),
    ['good', 'tight', 'tight', 'too small'],
  );
});

test('the suggested reservation is enough, and a multiple of 16 MB', () => {
  const small = forecastMemory({ ...FACTS, reservedBytes: 112 * MIB });
  const suggested = suggestReservation(small);
  assert.equal(suggested % (16 * MIB), 0);
  assert.ok(forecastMemory({ ...FACTS, reservedBytes: suggested }).spareBytes >= SPARE_WARN_BYTES);
  assert.ok(forecastMemory({ ...FACTS, reservedBytes: suggested - 16 * MIB }).spareBytes < SPARE_WARN_BYTES);
});

test("the kernel's size is the sum of its parts in /proc/iomem, unknown where addresses are hidden", () => {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-iomem-'));
  try {
    const path = join(folder, 'iomem');
    writeFileSync(
      path,
      [
        '00100000-2effffff : System RAM',
        '  27400000-28200fff : Kernel code',
        '  28400000-28c26fff : Kernel rodata',
        '  28e00000-29045fff : Kernel data',
        '  296b1000-29bfffff : Kernel bss',
        '',
      ].join('\n'),
    );
    assert.equal(readKernelBytes(path), 0xe01000 + 0x827000 + 0x246000 + 0x54f000);
    writeFileSync(path, '00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n');
    assert.equal(readKernelBytes(path), undefined);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
