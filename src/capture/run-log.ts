/** What stage 1 tells of itself: timeline, refusals, holes, kept in bounds and put into each generation's run record. */

import type { Clock } from '../base/clock.ts';
import { encodeRunRecord, type RunEvent, type RunRecord, type RunRefusal } from '../format/kdump/run-record.ts';
import { HoleList } from './holes.ts';

/** Events kept from the beginning of a run, and as many from its end. */
const TIMELINE_HALF = 128;
const REFUSALS_MAX = 64;

/** Collects what happened. One for a whole run over several devices; holes are of the current device. */
export class RunLog {
  holes = new HoleList();
  /** Why the dump ended early; set before the closing generation. */
  reason: string | undefined;
  readonly refused: RunRefusal[] = [];
  readonly #clock: Clock;
  readonly #tell: (event: string) => void;
  readonly #startMs: number;
  readonly #first: RunEvent[] = [];
  readonly #last: RunEvent[] = [];
  #events = 0;
  #refusals = 0;

  /** @param tell is told of every event as it happens, for the console. */
  constructor(clock: Clock, tell: (event: string) => void = () => {}) {
    this.#clock = clock;
    this.#tell = tell;
    this.#startMs = clock.monotonicMs();
  }

  /** Milliseconds since the run began. */
  get elapsedMs(): number {
    return this.#clock.monotonicMs() - this.#startMs;
  }

  event(event: string): void {
    const entry = { ms: Math.round(this.elapsedMs), event };
    this.#events++;
    this.#tell(event);
    if (this.#first.length < TIMELINE_HALF) {
      this.#first.push(entry);
      return;
    }
    if (this.#last.length === TIMELINE_HALF) this.#last.shift();
    this.#last.push(entry);
  }

  refuse(refusal: RunRefusal): void {
    this.#refusals++;
    if (this.refused.length < REFUSALS_MAX) this.refused.push(refusal);
    this.event(`${refusal.device} passed over: ${refusal.message}`);
  }

  /** Starts the holes anew for the next device. */
  nextDevice(): void {
    this.holes = new HoleList();
    this.reason = undefined;
  }

  /** The run record as a generation holds it, at most `maxBytes`. */
  encode(passes: RunRecord['passes'], maxBytes: number): Uint8Array {
    const timeline = [...this.#first, ...this.#last];
    const record: RunRecord = {
      schema: 'diskdump.run/1',
      ...(this.reason !== undefined && { reason: this.reason }),
      passes: passes.map(({ name, planned, stored }) => ({ name, planned, stored })),
      holes: this.holes.list().map(({ start, end, code }) => ({ start, end, error: code })),
      holePages: this.holes.pages,
      omitted: {
        holes: this.holes.omittedRanges,
        refused: this.#refusals - this.refused.length,
        timeline: this.#events - timeline.length,
      },
      refused: this.refused,
      timeline,
    };
    return encodeRunRecord(record, maxBytes);
  }
}
