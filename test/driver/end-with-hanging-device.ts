/** Runs into a hanging device, then ends the process the way that `argv[3]` names; prints what it saw. Started by a test. */

import { writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { abandonedThreads, ThreadedDevice } from '../../src/driver/threaded.ts';
import { exitNow, killSelf } from '../../src/sys/process.ts';

const [, , folder, end] = process.argv as [string, string, string, string];
const device = ThreadedDevice.open(join(folder, 'device'), {
  deadlineMs: 300,
  threadUrl: new URL('./hanging-thread.ts', import.meta.url),
});
writeFileSync(join(folder, 'hang'), '');
try {
  device.flush();
} catch (error) {
  writeSync(1, `${(error as Error).message}; ${abandonedThreads()} abandoned\n`);
}
if (end === 'exit') exitNow(7);
killSelf();
