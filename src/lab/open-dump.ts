/** Opens a dump file for the lab's checks: any format that diskdump reads. */

import { openVmcore } from '../format/open.ts';
import type { Vmcore } from '../format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../host/codecs.ts';
import { openFileSource } from '../host/file-source.ts';

/** An open dump; its file stays open until the process ends. */
export function openDump(path: string): Vmcore {
  return openVmcore(openFileSource(path), { codecs: nodeCodecs(), crc: nodeCrc32 });
}
