/**
 * An end of the process that waits for nothing.
 *
 * There is no `mlockall` here: V8 gives pages back with madvise(MADV_DONTNEED), which fails on locked memory, and ends the process.
 * The capture kernel has no swap, so nothing of ours leaves memory but pages of files.
 */

import { nativeCalls } from './native.ts';

/**
 * Ends the process at once: no exit handlers, and no joining of a thread that a dead disk holds in the kernel, for which
 * `process.exit` would wait for ever. Without koffi the end is SIGKILL, which has no exit code.
 */
export function exitNow(code: number): never {
  nativeCalls()?.exit(code);
  return killSelf();
}

/** Ends the process by SIGKILL, with all its threads. */
export function killSelf(): never {
  process.kill(process.pid, 'SIGKILL');
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}
