import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../base/clock.ts';
import type { CaptureProgress } from '../capture/supervisor.ts';
import { ConsoleSupervisor } from './console.ts';

test('the console hears of the device once, of the rate every few seconds, of waiting', () => {
  const clock = new ManualClock();
  const lines: string[] = [];
  let beats = 0;
  const supervisor = new ConsoleSupervisor(clock, {
    pageSize: 4096,
    say: (line) => lines.push(line),
    beat: () => beats++,
  });
  const state: CaptureProgress = {
    phase: 'waiting',
    device: '/dev/vdb',
    pass: '',
    storedPages: 0,
    plannedPages: 500_000,
    holePages: 0,
    bytes: 0,
  };
  for (let i = 0; i < 20; i++, clock.nowMs += 250) supervisor.progress(state);
  state.phase = 'checking';
  supervisor.progress(state);
  state.phase = 'writing';
  state.pass = 'rest';
  for (let i = 0; i < 7; i++, clock.nowMs += 1000, state.storedPages += 25_000) supervisor.progress(state);
  state.holePages = 3;
  clock.nowMs += 3000;
  supervisor.progress(state);
  assert.deepEqual(lines, [
    'waiting for /dev/vdb',
    'device verified: /dev/vdb',
    'pass rest: 15 %, 307 of 2048 MB, 102 MB/s',
    'pass rest: 30 %, 614 of 2048 MB, 102 MB/s',
    'pass rest: 35 %, 717 of 2048 MB, 26 MB/s, 3 pages unreadable',
  ]);
  assert.equal(beats, 29);
  assert.equal(supervisor.cancelled(), undefined);
});
