import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatDate, formatLogLine, formatStamp, formatVmcoreDmesg, logDocument, logText } from './log-text.ts';
import type { LogRecord } from './printk.ts';

function record(text: string | Uint8Array, tsNs = 11208891697n): LogRecord {
  return {
    seq: 7,
    tsNs,
    level: 4,
    facility: 0,
    caller: { kind: 'task', id: 31 },
    text: typeof text === 'string' ? Buffer.from(text) : text,
    newline: true,
    continuation: false,
    lost: false,
    subsystem: undefined,
    device: undefined,
  };
}

test('time stamps have five digits of seconds and six of microseconds, cut and not rounded', () => {
  assert.equal(formatStamp(0n), '[    0.000000] ');
  assert.equal(formatStamp(11208891999n), '[   11.208891] ');
  assert.equal(formatStamp(1234567000001999n), '[1234567.000001] ');
});

test('crash indents further lines by the prefix and shows dots, vmcore-dmesg does neither', () => {
  const odd = record(Buffer.from('a\tb\x1b\xe9\r\nc', 'latin1'));
  assert.equal(formatLogLine(odd), '[   11.208891] a\tb...\n               c');
  assert.equal(formatLogLine(odd, { showLevel: true }), `[   11.208891] <4>a\tb...\n${' '.repeat(18)}c`);
  assert.equal(Buffer.from(formatVmcoreDmesg(odd)).toString('latin1'), '[   11.208891] a\tb\\x1b\\xe9\r\nc\n');
});

test('dates count from boot, in UTC', () => {
  assert.equal(formatLogLine(record('x'), { bootTimeSeconds: 1795230207 }), '[Sat Nov 21 03:03:38 UTC 2026] x');
  assert.equal(formatDate(0), 'Thu Jan  1 00:00:00 UTC 1970');
  assert.equal(formatDate(1e300), '1e+300 s');
});

test('values for JSON leave out what is not there', () => {
  assert.deepEqual(logDocument(record('x')), {
    seq: 7,
    tsNs: 11208891697n,
    level: 4,
    facility: 0,
    caller: 'T31',
    text: 'x',
  });
  assert.equal(logText(record('naïve')), 'naïve');
  assert.equal(logText(record(Buffer.from([0x6e, 0xef]))), 'nï');
});
