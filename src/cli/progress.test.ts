import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatDuration, formatProgress, formatRate } from './progress.ts';
import { parseDuration, parseInteger, parseSize } from './verb.ts';

test('sizes, rates and times for people', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 10 << 20, 3 * 2 ** 40].map(formatBytes), [
    '0 B',
    '1023 B',
    '1.00 KiB',
    '1.50 KiB',
    '10.0 MiB',
    '3.00 TiB',
  ]);
  assert.deepEqual([999e6, 1.5e9].map(formatRate), ['999 MB/s', '1.50 GB/s']);
  assert.deepEqual([410, 12_340, 200_000, 7_500_000].map(formatDuration), [
    '0.41 s',
    '12.3 s',
    '3 min 20 s',
    '2 h 05 min',
  ]);
});

test('a line without a total has no percentage', () => {
  assert.equal(formatProgress({ label: 'reading', unit: 'pages' }, 12, 0), 'reading  12 pages');
  assert.equal(
    formatProgress({ label: 'reading', unit: 'pages', total: 100 }, 100, 10),
    'reading  100%  100 pages of 100 pages  10 pages/s',
  );
});

test('values of flags', () => {
  assert.deepEqual(['4096', '4K', '1.5M', '2GiB', '1t', '7b'].map(parseSize), [
    4096,
    4096,
    1572864,
    2 ** 31,
    2 ** 40,
    7,
  ]);
  assert.deepEqual(['500ms', '90s', '2m', '1h', '3'].map(parseDuration), [500, 90_000, 120_000, 3_600_000, 3000]);
  assert.deepEqual(
    ['0x1f', '31'].map((text) => parseInteger(text)),
    [31, 31],
  );
  for (const text of ['', '-1', '1e3', '9'.repeat(20), '1.5', ' 1'])
    assert.throws(() => parseInteger(text), /whole number/);
  for (const text of ['', '-1', '1P', '9'.repeat(20)]) assert.throws(() => parseSize(text), /is not a size/);
  for (const text of ['', '5d', 'soon']) assert.throws(() => parseDuration(text), /is not a time/);
});
