/** Who watches over a capture: told of progress, asked whether to go on, owner of the time. */

import type { Clock } from '../base/clock.ts';

/** What a capture is doing. */
export type CapturePhase = 'waiting' | 'checking' | 'writing' | 'table' | 'done';

/** Where a capture stands. One object is reused for every report: copy what is to be kept. */
export interface CaptureProgress {
  phase: CapturePhase;
  /** Name of the device in use or looked for. */
  device: string;
  /** Name of the pass, '' outside of one. */
  pass: string;
  storedPages: number;
  plannedPages: number;
  holePages: number;
  /** Bytes of the log so far. */
  bytes: number;
}

/**
 * To add one: `progress` is called at least once per chunk (1 MiB), and while a device is waited for; it returns at once.
 * This is where a watchdog is fed and a heartbeat moves. `cancelled` is asked as often; a sentence ends the dump as an
 * honest partial that says so.
 */
export interface Supervisor {
  readonly clock: Clock;
  progress(state: Readonly<CaptureProgress>): void;
  cancelled(): string | undefined;
}

/** A supervisor that says nothing and never stops anything. */
export function silentSupervisor(clock: Clock): Supervisor {
  return { clock, progress: () => {}, cancelled: () => undefined };
}
