/**
 * The last lines that a dead kernel wrote, read out of its memory.
 *
 *     node_modules/.bin/node examples/last-words.ts VMCORE [LINES]
 */

import { openVmcore } from '../src/format/open.ts';
import { nodeCodecs, nodeCrc32 } from '../src/host/codecs.ts';
import { openFileSource } from '../src/host/file-source.ts';
import { formatLogLine } from '../src/kernel/log-text.ts';
import { openKernel } from '../src/kernel/open.ts';

const [path, count = '10'] = process.argv.slice(2);
if (path === undefined) throw new Error('usage: node_modules/.bin/node examples/last-words.ts VMCORE [LINES]');

const source = openFileSource(path);
const kernel = openKernel(openVmcore(source, { codecs: nodeCodecs(), crc: nodeCrc32 }));
const lines: string[] = [];
for (const record of kernel.walkLog()) {
  lines.push(formatLogLine(record));
  if (lines.length > Number(count)) lines.shift();
}
for (const line of lines) console.log(line);
source.close();
