/** Draws a narration as a picture of a terminal: one SVG, whose lines appear at the pace of the run. */

import type { NarratedLine, NarrationStyle } from './narration.ts';

export interface PictureOptions {
  /** In the title bar. */
  readonly title: string;
  /** Characters a line; longer lines are cut. */
  readonly columns: number;
  /** How many seconds of the run pass in one of the picture. */
  readonly speed: number;
}

const COLOURS: Readonly<Record<NarrationStyle, string>> = {
  plain: '#d7dae0',
  dim: '#7d8590',
  bold: '#ffffff',
  green: '#3fb950',
  red: '#ff7b72',
  cyan: '#56d4dd',
  yellow: '#e3b341',
};
const CHARACTER_WIDTH = 8.43;
const LINE_HEIGHT = 19;
const MARGIN = 18;
const TITLE_BAR = 34;
/** Where the viewer does not animate, every line is there: animation only hides a line until its moment. */
const STYLE =
  'text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}' +
  '.l{animation:a .25s backwards}@keyframes a{from{opacity:0}}@media(prefers-reduced-motion:reduce){.l{animation:none}}';

/** The picture as the text of an SVG file. The same lines give the same bytes. */
export function drawTerminal(lines: readonly NarratedLine[], options: PictureOptions): string {
  const width = Math.ceil(options.columns * CHARACTER_WIDTH + 2 * MARGIN);
  const height = TITLE_BAR + lines.length * LINE_HEIGHT + 2 * MARGIN;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(options.title)}">`,
    `<style>${STYLE}</style>`,
    `<rect width="${width}" height="${height}" rx="10" fill="#0d1117" stroke="#30363d"/>`,
    ...['#ff5f57', '#febc2e', '#28c840'].map((fill, n) => `<circle cx="${20 + n * 20}" cy="18" r="6" fill="${fill}"/>`),
    `<text x="${width / 2}" y="23" fill="${COLOURS.dim}" text-anchor="middle">${escapeXml(options.title)}</text>`,
    ...lines.map((line, index) => drawLine(line, index, options)),
    '</svg>',
  ];
  return `${parts.join('\n')}\n`;
}

function drawLine(line: NarratedLine, index: number, options: PictureOptions): string {
  const y = TITLE_BAR + MARGIN + index * LINE_HEIGHT;
  const delay = (line.atMs / 1000 / options.speed).toFixed(2);
  let room = options.columns;
  const spans: string[] = [];
  for (const { text, style } of line.spans) {
    const shown = text.slice(0, room);
    room -= shown.length;
    if (shown === '') continue;
    const weight = style === 'bold' ? ' font-weight="600"' : '';
    spans.push(`<tspan fill="${COLOURS[style]}"${weight}>${escapeXml(shown)}</tspan>`);
  }
  return `<text class="l" style="animation-delay:${delay}s" x="${MARGIN}" y="${y}" xml:space="preserve">${spans.join('')}</text>`;
}

function escapeXml(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: XML allows none of them
  return text.replace(/[\x00-\x1f]/g, '·').replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
