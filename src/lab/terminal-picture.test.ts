import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NarratedLine, span } from './narration.ts';
import { drawTerminal } from './terminal-picture.ts';

const LINES: NarratedLine[] = [
  { atMs: 0, spans: [span('$ ', 'dim'), span('a <b> & "c"', 'bold')] },
  { atMs: 6000, spans: [span('123456789\x1b'), span('over the edge', 'red')] },
];

test('a line is escaped, cut at the last column, and appears at its moment', () => {
  const svg = drawTerminal(LINES, { title: 'demo', columns: 12, speed: 6 });
  assert.match(svg, /a &#60;b&#62; &#38;/);
  assert.match(svg, />123456789·<\/tspan>.*>ov<\/tspan>/);
  assert.match(svg, /animation-delay:1\.00s/);
  assert.equal(svg, drawTerminal(LINES, { title: 'demo', columns: 12, speed: 6 }));
});
