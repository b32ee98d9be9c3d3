/** What stage 1 says on the console of the capture kernel: a line a few seconds, each beginning with `diskdump: `. */

import { writeSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { CaptureProgress, Supervisor } from '../capture/supervisor.ts';

/** Where lines go. */
export type Say = (line: string) => void;

/** Writes to the console. A console that fails is no reason to have no dump. */
export const sayOnConsole: Say = (line) => {
  try {
    writeSync(1, `diskdump: ${line}\n`);
  } catch {
    // Nobody is left to tell.
  }
};

const RATE_MS = 3000;
const MB = 1e6;

/**
 * The supervisor of the capture kernel: moves the heartbeat, names the device that was verified, says the rate:
 *
 *     diskdump: device verified: /dev/vdb
 *     diskdump: pass rest: 43 %, 220 of 512 MB, 95 MB/s
 */
export class ConsoleSupervisor implements Supervisor {
  readonly clock: Clock;
  readonly #pageSize: number;
  readonly #say: Say;
  readonly #beat: () => void;
  #verified = '';
  #saidMs: number;
  #saidPages = 0;

  constructor(clock: Clock, options: { readonly pageSize: number; readonly say: Say; readonly beat: () => void }) {
    this.clock = clock;
    this.#pageSize = options.pageSize;
    this.#say = options.say;
    this.#beat = options.beat;
    this.#saidMs = clock.monotonicMs();
  }

  progress(state: Readonly<CaptureProgress>): void {
    this.#beat();
    if (state.phase !== 'writing' && state.phase !== 'waiting') return;
    if (state.phase === 'writing' && state.device !== this.#verified) {
      this.#verified = state.device;
      this.#mark(state);
      this.#say(`device verified: ${state.device}`);
      return;
    }
    const elapsedMs = this.clock.monotonicMs() - this.#saidMs;
    if (elapsedMs < RATE_MS) return;
    if (state.phase === 'waiting') this.#say(`waiting for ${state.device}`);
    else this.#say(this.#rate(state, elapsedMs));
    this.#mark(state);
  }

  cancelled(): undefined {
    return undefined;
  }

  #rate(state: Readonly<CaptureProgress>, elapsedMs: number): string {
    const megabytes = (pages: number): number => Math.round((pages * this.#pageSize) / MB);
    const percent = Math.floor((100 * state.storedPages) / Math.max(1, state.plannedPages));
    const rate = Math.round(((state.storedPages - this.#saidPages) * this.#pageSize) / MB / (elapsedMs / 1000));
    const amount = `${megabytes(state.storedPages)} of ${megabytes(state.plannedPages)} MB`;
    const holes = state.holePages > 0 ? `, ${state.holePages} pages unreadable` : '';
    return `pass ${state.pass}: ${percent} %, ${amount}, ${rate} MB/s${holes}`;
  }

  #mark(state: Readonly<CaptureProgress>): void {
    this.#saidMs = this.clock.monotonicMs();
    this.#saidPages = state.storedPages;
  }
}
