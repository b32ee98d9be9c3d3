import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/driver/scratch.ts';
import { ManualClock } from '../base/clock.ts';
import { RunFiles } from './run-files.ts';

const read = (folder: string, name: string): string => readFileSync(join(folder, name), 'latin1');

test('the heartbeat counts up, at most once a second, on over a restart', () => {
  const folder = scratchFolder();
  const clock = new ManualClock();
  const files = new RunFiles(folder, clock);
  assert.equal(read(folder, 'heartbeat'), '1\n');
  for (let ms = 0; ms < 10_000; ms += 100) {
    clock.nowMs += 100;
    files.beat();
  }
  assert.equal(read(folder, 'heartbeat'), '11\n');
  new RunFiles(folder, clock);
  assert.equal(read(folder, 'heartbeat'), '12\n');
});

test('devices that failed are remembered', () => {
  const folder = scratchFolder();
  const clock = new ManualClock();
  const files = new RunFiles(folder, clock);
  assert.deepEqual([...files.tried], []);
  files.noteTried('a');
  files.noteTried('b');
  assert.equal(read(folder, 'tried'), 'a\nb\n');
  assert.deepEqual([...new RunFiles(folder, clock).tried], ['a', 'b']);
});

test('the result is there whole or not at all', () => {
  const folder = scratchFolder();
  const files = new RunFiles(folder, new ManualClock());
  assert.equal(existsSync(join(folder, 'result')), false);
  files.writeResult('partial', { pages: 7, text: 'two\nlines' });
  const [word, json, end] = read(folder, 'result').split('\n');
  assert.equal(word, 'partial');
  assert.deepEqual(JSON.parse(json as string), { pages: 7, text: 'two\nlines' });
  assert.equal(end, '');
  assert.deepEqual(readdirSync(folder).sort(), ['heartbeat', 'result']);
});
