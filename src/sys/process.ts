/** The process itself: its memory locked, and an end that waits for nothing. */

import { nativeCalls } from './native.ts';

/** Source: Linux `include/uapi/asm-generic/mman.h`. */
const MCL_CURRENT = 1;
const MCL_ONFAULT = 4;

/** Keeps what is in memory there: no page of ours is dropped once it was touched. False where that cannot be asked. */
export function lockMemory(): boolean {
  return nativeCalls()?.mlockall(MCL_CURRENT | MCL_ONFAULT) === 0;
}

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
