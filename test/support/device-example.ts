/** The worked example of `docs/formats/dump-device.md`: a small device by the builder, shown as hex. */

import { DeviceBuilder } from './device-builder.ts';

/** The example device, and where its records lie. */
export function buildExample() {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  for (let at = 0; at < page.length; at += 4) view.setUint32(at, at, true);
  const builder = new DeviceBuilder({
    size: 1 << 20,
    ranges: [[0, 8]],
    passes: [{ name: 'rest', planned: 2 }],
    notes: new TextEncoder().encode('the notes'),
  });
  builder.label('complete', { counter: 3 });
  const start = builder.start();
  const chunk = builder.chunk(0, [
    { pfn: 1, bytes: page },
    { pfn: 3, zero: true },
  ]);
  const index = builder.index(0);
  const generation = builder.generation({ last: true, runRecord: '{}' });
  builder.blockZero(generation.bitmap1);
  return { builder, start, chunk, index, generation };
}

/** The example as the page shows it. */
export function renderExample(): string {
  const { builder, start, chunk, index, generation } = buildExample();
  const { image } = builder;
  const label = image.length - 65536;
  const parts: readonly (readonly [string, number, number])[] = [
    ['Block 0: `sub_hdr_size` is at 432.', 0, 512],
    ['Block 1, the sub header.', 4096, 112],
    ['Start record.', start, 128 + 640 + 16 + 64 + 16],
    ['Chunk: header, two entries; the page begins 4 KiB further.', chunk, 192],
    ['Index: header and two entries.', index, 192],
    ['Generation: header, block, pass, index reference, run record.', generation.offset, 384],
    ['Its bitmaps begin with', generation.bitmap1, 16],
    ['and', generation.bitmap1 + 4096, 16],
    ['Its descriptors.', generation.bitmap1 + 8192, 48],
    ['Label copy 1, identity.', label, 512],
    ['Label copy 1, state.', label + 4096, 512],
  ];
  return parts
    .map(([title, offset, length]) => `${title}\n\n\`\`\`\n${hexDump(image, offset, length)}\n\`\`\`\n`)
    .join('\n');
}

/** Lines of 16 bytes with their offset; lines equal to the one before are a star. */
function hexDump(bytes: Uint8Array, offset: number, length: number): string {
  const lines: string[] = [];
  let previous = '';
  for (let at = offset; at < offset + length; at += 16) {
    const row = [...bytes.subarray(at, Math.min(at + 16, offset + length))];
    const text = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    if (text !== previous) lines.push(`${at.toString(16).padStart(6, '0')}  ${text}`);
    else if (lines.at(-1) !== '*') lines.push('*');
    previous = text;
  }
  return lines.join('\n');
}
