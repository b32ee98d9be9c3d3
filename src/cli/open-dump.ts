/** A dump by its path, opened with all that this machine has for it. */

import { NoDataError } from '../base/errors.ts';
import { openVmcore } from '../format/open.ts';
import type { Vmcore } from '../format/vmcore.ts';
import { nodeCodecs, nodeCrc32 } from '../host/codecs.ts';
import { openFileSource } from '../host/file-source.ts';

/** An open dump and its file. */
export interface DumpFile {
  readonly vmcore: Vmcore;
  /** Bytes of the file. */
  readonly size: number;
  close(): void;
}

/**
 * Opens a dump file, or a dump device by its path.
 *
 * @throws NoDataError where the path cannot be opened, `FILE_EMPTY`; else as `openVmcore`.
 */
export function openDumpFile(path: string): DumpFile {
  const source = openFileSource(path);
  try {
    if (source.size === 0) throw new NoDataError('FILE_EMPTY', `opening ${path}: it is empty`, { path });
    const vmcore = openVmcore(source, { codecs: nodeCodecs(), crc: nodeCrc32 });
    return { vmcore, size: source.size, close: () => source.close() };
  } catch (error) {
    source.close();
    throw error;
  }
}
