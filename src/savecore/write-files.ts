/** Small files of a crash directory. */

import { DeviceError, DumpError } from '../base/errors.ts';
import type { LogEnd, LogRecord } from '../kernel/printk.ts';
import type { SaveStore } from './store.ts';

/** Lines are gathered into writes of this size. */
const BUFFER_BYTES = 65536;

/** What became of the kernel log. */
export interface DmesgSummary {
  /** 0: there is no file. */
  readonly bytes: number;
  /** Why it is short, or absent. */
  readonly problem?: string;
}

/** A new file with these bytes, flushed. */
export function writeWhole(store: SaveStore, path: string, bytes: Uint8Array): void {
  const sink = store.create(path);
  try {
    sink.write(bytes, 0);
    sink.flush();
  } finally {
    sink.close();
  }
}

/**
 * Writes a kernel log as far as it can be read; no file where not a line can be. A dump without a readable log is still a dump,
 * so only a failing store throws.
 *
 * @param format a record as a line, newline and all
 */
export function writeDmesg(
  store: SaveStore,
  path: string,
  walk: () => Generator<LogRecord, LogEnd, undefined>,
  format: (record: LogRecord) => Uint8Array,
): DmesgSummary {
  let sink: ReturnType<SaveStore['create']> | undefined;
  const buffer = new Uint8Array(BUFFER_BYTES);
  let used = 0;
  let bytes = 0;
  const drain = (): void => {
    if (used === 0) return;
    sink ??= store.create(path);
    sink.write(buffer.subarray(0, used), bytes);
    bytes += used;
    used = 0;
  };
  const put = (line: Uint8Array): void => {
    if (used + line.length > buffer.length) drain();
    const part = line.subarray(0, buffer.length);
    buffer.set(part, used);
    used += part.length;
  };
  try {
    let problem: string | undefined;
    try {
      for (const record of walk()) put(format(record));
    } catch (error) {
      if (!(error instanceof DumpError) || error instanceof DeviceError) throw error;
      problem = error.message;
    }
    drain();
    sink?.flush();
    return { bytes, ...(problem === undefined ? {} : { problem }) };
  } finally {
    sink?.close();
  }
}
