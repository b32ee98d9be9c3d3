/**
 * Which pages a dump holds, as runs of neighbours: the Vmcore contract in twenty lines.
 *
 *     node_modules/.bin/node examples/page-runs.ts VMCORE
 */

import { openVmcore } from '../src/format/open.ts';
import { nodeCodecs, nodeCrc32 } from '../src/host/codecs.ts';
import { openFileSource } from '../src/host/file-source.ts';

const path = process.argv[2];
if (path === undefined) throw new Error('usage: node_modules/.bin/node examples/page-runs.ts VMCORE');

const source = openFileSource(path);
const vmcore = openVmcore(source, { codecs: nodeCodecs(), crc: nodeCrc32 });
console.log(`${vmcore.format}, ${vmcore.state}, ${vmcore.arch}, pages of ${vmcore.pageSize} bytes`);
for (const { start, end, presence } of vmcore.walkPages()) {
  const from = (start * vmcore.pageSize).toString(16).padStart(12, '0');
  console.log(`0x${from}  ${String(end - start).padStart(8)} pages  ${presence}`);
}
source.close();
