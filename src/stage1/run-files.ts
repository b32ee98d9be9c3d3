/** The files through which stage 1 speaks to PID 1: `heartbeat`, `tried` and `result` in the run directory. */

import { appendFileSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';

/** First word of `result`. */
export type Outcome = 'complete' | 'partial' | 'no-device' | 'failed';

const BEAT_MS = 1000;

/** The run directory of one boot: it outlives a stage 1 that is killed, and ends with the capture kernel. */
export class RunFiles {
  /** UUIDs of labels whose device failed in this boot. */
  readonly tried: ReadonlySet<string>;
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #heartbeat: number;
  #beats: number;
  #beatenMs = Number.NEGATIVE_INFINITY;

  constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
    // A restarted stage 1 counts on, so that its first beat is seen.
    this.#beats = Number.parseInt(readText(join(folder, 'heartbeat')), 10) || 0;
    this.tried = new Set(readText(join(folder, 'tried')).split('\n').filter(Boolean));
    this.#heartbeat = openSync(join(folder, 'heartbeat'), 'w');
    this.beat();
  }

  /** Shows that we live. Cheap: at most once a second something is written. */
  beat(): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#beatenMs < BEAT_MS) return;
    this.#beatenMs = now;
    this.#beats++;
    // Counts only grow, so the new text covers the old one whole.
    writeSync(this.#heartbeat, `${this.#beats}\n`, 0);
  }

  /** Notes that a device failed, so that a restart does not try it again. */
  noteTried(uuid: string): void {
    appendFileSync(join(this.#folder, 'tried'), `${uuid}\n`);
  }

  /** Says how it ended: one word, then JSON on one line. The last thing that stage 1 does. */
  writeResult(outcome: Outcome, detail: object): void {
    const partial = join(this.#folder, 'result.partial');
    writeFileSync(partial, `${outcome}\n${JSON.stringify(detail)}\n`);
    renameSync(partial, join(this.#folder, 'result'));
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
