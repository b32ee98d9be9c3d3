/** Entry of the thread that drives one block device or file for the engine; see `ring.ts` for what passes between them. */

import { workerData } from 'node:worker_threads';
import { BlockDevice } from './block.ts';
import { Ring, type ThreadStart } from './ring.ts';
import { serveDevice } from './serve.ts';

const start = workerData as ThreadStart;
const ring = new Ring(start.memory, start.slots, start.slotBytes);
serveDevice(ring, () =>
  BlockDevice.open(start.path, {
    writable: start.writable,
    exclusive: start.exclusive,
    direct: start.direct,
    maxTransfer: start.slots * start.slotBytes,
    aligned: start.memory.buffer,
  }),
);
