/** A device thread whose device answers from memory, until a file named `hang` exists: from then on a call blocks in the kernel. */

import { existsSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { workerData } from 'node:worker_threads';
import { Ring, type ThreadStart } from '../../src/driver/ring.ts';
import { type ServedDevice, serveDevice } from '../../src/driver/serve.ts';

const start = workerData as ThreadStart;
const folder = dirname(start.path);

/** Blocks for ever: a FIFO that this process itself holds open for writing never ends, and nobody writes. */
function hang(): void {
  if (existsSync(join(folder, 'hang'))) readSync(openSync(join(folder, 'fifo'), 'r+'), new Uint8Array(1));
}

function memoryDevice(): ServedDevice {
  const bytes = new Uint8Array(4 * 2 ** 20);
  return {
    name: start.path,
    blockSize: 512,
    size: bytes.length,
    maxTransfer: bytes.length,
    location: { start: 0, serial: 'HANGS' },
    sanityCheck: hang,
    quiesce: hang,
    read(target, offset) {
      hang();
      target.set(bytes.subarray(offset, offset + target.length));
    },
    write(data, offset) {
      hang();
      bytes.set(data, offset);
    },
    flush: hang,
    shutdown: hang,
  };
}

serveDevice(new Ring(start.memory, start.slots, start.slotBytes), () => {
  if (existsSync(join(folder, 'hang-open'))) readSync(openSync(join(folder, 'fifo'), 'r+'), new Uint8Array(1));
  return memoryDevice();
});
