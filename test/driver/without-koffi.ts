/** What `sys` and the block driver do where koffi does not load; prints it as JSON. Started by a test. */

import { closeSync } from 'node:fs';
import { BlockDevice } from '../../src/driver/block.ts';
import { discardRange, flushBuffers, readBlockFacts } from '../../src/sys/block.ts';
import { openPath } from '../../src/sys/file.ts';
import { MAP_ALIGNMENT, MappedWindow } from '../../src/sys/mapping.ts';
import { nativeCalls } from '../../src/sys/native.ts';
import { pattern, readBack } from '../conformance/dump-device.ts';

const path = process.argv[2] as string;
const fd = openPath(path, { writable: true, direct: false, exclusive: true });
const answer = {
  native: nativeCalls() !== undefined,
  facts: readBlockFacts(fd, path),
  flushed: flushBuffers(fd),
  discarded: discardRange(fd, 0, 4096),
  mapped: MappedWindow.reserve(MAP_ALIGNMENT) !== undefined,
  readBack: false,
};
closeSync(fd);
const device = BlockDevice.open(path);
device.sanityCheck();
device.quiesce();
device.write(pattern(8192, 3), 8192);
device.flush();
answer.readBack = readBack(device, 8192, 8192).every((byte, i) => byte === pattern(8192, 3)[i]);
device.shutdown();
process.stdout.write(`${JSON.stringify(answer)}\n`);
