import assert from 'node:assert/strict';
import { test } from 'node:test';
import { randomBelow, seededRandom } from '../base/random.ts';
import { countRanges, type Range } from '../base/ranges.ts';
import { countBelow, planCapture, WindowWalker } from './plan.ts';

test('excluded pages are memory, and in no pass', () => {
  const memory = { ranges: [{ start: 10, end: 20 }], excluded: [{ start: 20, end: 25 }], maxMapnr: 40 };
  const plan = planCapture(memory, [{ start: 18, end: 22 }]);
  assert.deepEqual([plan.present, plan.planned, plan.maxMapnr], [15, 10, 40]);
  assert.deepEqual(plan.ranges, [{ start: 10, end: 25 }]);
  assert.deepEqual(
    plan.passes.map(({ ranges }) => ranges),
    [[{ start: 18, end: 20 }], [{ start: 10, end: 18 }]],
  );
});

test('essential pages go first, the rest by pfn, each page once', () => {
  const plan = planCapture(
    {
      ranges: [
        { start: 100, end: 200 },
        { start: 0, end: 50 },
      ],
    },
    [
      { start: 40, end: 120 },
      { start: 300, end: 310 },
    ],
  );
  assert.deepEqual(plan.passes, [
    {
      name: 'essential',
      pages: 30,
      ranges: [
        { start: 40, end: 50 },
        { start: 100, end: 120 },
      ],
    },
    {
      name: 'rest',
      pages: 120,
      ranges: [
        { start: 0, end: 40 },
        { start: 120, end: 200 },
      ],
    },
  ]);
  assert.deepEqual([plan.maxMapnr, plan.present, plan.planned], [200, 150, 150]);
});

test('windows cover every page of a pass once, in order, from anywhere', () => {
  const random = seededRandom(5);
  for (let round = 0; round < 200; round++) {
    const { ranges } = planCapture({ ranges: randomRanges(random) }, []);
    const from = randomBelow(random, 400);
    const size = 1 + randomBelow(random, 20);
    const walker = new WindowWalker(ranges, size, from);
    const seen: number[] = [];
    while (walker.next()) {
      assert.ok(walker.count > 0 && walker.count <= size);
      for (let i = 0; i < walker.count; i++) seen.push(walker.start + i);
    }
    const expected = ranges.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
    assert.deepEqual(
      seen,
      expected.filter((pfn) => pfn >= from),
    );
    assert.equal(countBelow(ranges, from), countRanges(ranges) - seen.length);
  }
});

function randomRanges(random: ReturnType<typeof seededRandom>): Range[] {
  return Array.from({ length: randomBelow(random, 6) }, () => {
    const start = randomBelow(random, 300);
    return { start, end: start + randomBelow(random, 60) };
  });
}
