import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConsole, parseConsoleLine, parseMemoryLeft } from './console.ts';

const LINES = [
  '[    0.000000] Command line: console=ttyS0 crashkernel=192M',
  'lab: boot 1, kernel 6.1.0-56-cloud-amd64',
  '[   20.123456] Kernel panic - not syncing: sysrq triggered crash',
  '[    0.000000] Command line: elfcorehdr=0x3e000000 console=ttyS0 nr_cpus=1',
  'diskdump: capture kernel is up, 6.1.0-56-cloud-amd64, 2 s after its start',
  'diskdump: stage 1 says: complete',
  'diskdump: memory available at the end: 41000 kB, lowest 40000 kB',
  'diskdump: reboot',
];

test('the console of a cycle becomes its timeline', () => {
  const timeline = parseConsole(LINES.map((text, index) => ({ text, atMs: index })));
  assert.deepEqual(
    timeline.map(({ kind, atMs }) => [kind, atMs]),
    [
      ['guest-up', 1],
      ['panic', 2],
      ['capture-command-line', 3],
      ['capture-up', 4],
      ['stage1-ended', 5],
      ['memory-left', 6],
      ['final-action', 7],
    ],
  );
  assert.equal(timeline[1]?.text, 'Kernel panic - not syncing: sysrq triggered crash');
});

test('an ordinary line is no event', () => {
  assert.equal(parseConsoleLine({ text: '[    1.0] virtio_blk virtio1: [vda] 4194304', atMs: 0 }), undefined);
});

test('memory is counted in bytes', () => {
  assert.deepEqual(parseMemoryLeft('memory available at the end: 41000 kB, lowest 40000 kB'), {
    atEnd: 41000 * 1024,
    lowest: 40000 * 1024,
  });
});
