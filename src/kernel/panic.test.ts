import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findPanic, PanicFinder } from './panic.ts';
import type { LogCaller, LogRecord } from './printk.ts';

/** Lines as `T1 text`: who printed, and what. */
function log(lines: readonly string[]): LogRecord[] {
  return lines.map((line, seq) => {
    const match = /^([TC])(\d+) (.*)$/s.exec(line);
    const caller: LogCaller | undefined = match
      ? { kind: match[1] === 'C' ? 'cpu' : 'task', id: Number(match[2]) }
      : undefined;
    return {
      seq,
      tsNs: BigInt(seq),
      level: 0,
      facility: 0,
      caller,
      text: Buffer.from(match?.[3] ?? line),
      newline: true,
      continuation: false,
      lost: false,
      subsystem: undefined,
      device: undefined,
    };
  });
}

const CPU = 'CPU: 1 PID: 154 Comm: init Kdump: loaded Tainted: G           OE      6.1.0-56 #1';

test('a panic of its own prints its CPU line behind it', () => {
  assert.deepEqual(
    findPanic(
      log([
        'T9 CPU: 0 PID: 9 Comm: earlier Not tainted 6.1.0 #1',
        'T31 Kernel panic - not syncing: hung_task: blocked tasks',
        'T31 CPU: 1 PID: 31 Comm: khungtaskd Tainted: G OE 6.1.0',
      ]),
    ),
    { message: 'Kernel panic - not syncing: hung_task: blocked tasks', cpu: 1, pid: 31, comm: 'khungtaskd' },
  );
});

test('a panic after an oops takes the CPU line of the same caller before it', () => {
  const lines = [
    'T154 BUG: kernel NULL pointer dereference, address: 0000000000000000',
    `T154 ${CPU}`,
    'T7 CPU: 0 PID: 7 Comm: other Not tainted 6.1',
    'T154 Kernel panic - not syncing: Fatal exception',
  ];
  assert.deepEqual(findPanic(log(lines)), {
    message: 'Kernel panic - not syncing: Fatal exception',
    cpu: 1,
    pid: 154,
    comm: 'init',
  });
});

test('where nobody says who printed, nobody is guessed', () => {
  assert.deepEqual(findPanic(log([CPU, 'Kernel panic - not syncing: Fatal exception'])), {
    message: 'Kernel panic - not syncing: Fatal exception',
  });
  assert.equal(findPanic(log(['T1 all is well'])), undefined);
});

test('without a panic line the last oops names the death; 6.12 prints a UID', () => {
  const facts = findPanic(
    log([
      'C2 BUG: kernel NULL pointer dereference, address: 0000000000000000',
      'C2 CPU: 2 UID: 0 PID: 0 Comm: swapper/2 Kdump: loaded Tainted: G           OE      6.12.111 #1  Debian',
    ]),
  );
  assert.deepEqual(facts, {
    message: 'BUG: kernel NULL pointer dereference, address: 0000000000000000',
    cpu: 2,
    pid: 0,
    comm: 'swapper/2',
  });
});

test('what user space writes into the log announces nothing', () => {
  const records = log(['T1 Kernel panic - not syncing: no']).map((record) => ({ ...record, facility: 1 }));
  assert.equal(findPanic(records), undefined);
});

test('only the end of a long log is kept', () => {
  const finder = new PanicFinder();
  const [panic] = log(['T1 Kernel panic - not syncing: at last']);
  const [line] = log(['T1 noise']);
  for (let i = 0; i < 20000; i++) finder.add(line as LogRecord);
  finder.add(panic as LogRecord);
  assert.equal(finder.find()?.message, 'Kernel panic - not syncing: at last');
});
