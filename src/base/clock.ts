/** Time, handed in so that tests and the simulator own it. */

/** To add one: both are cheap and never go back, `monotonicMs` by contract, `wallMs` only as far as the system's clock. */
export interface Clock {
  /** Milliseconds since some fixed moment; fractions allowed. */
  monotonicMs(): number;
  /** Milliseconds since 1970-01-01T00:00Z. */
  wallMs(): number;
}

/** A clock that moves only when the test moves it. */
export class ManualClock implements Clock {
  nowMs: number;
  readonly #wallStartMs: number;

  constructor(wallStartMs = Date.UTC(2026, 0, 1)) {
    this.nowMs = 0;
    this.#wallStartMs = wallStartMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  wallMs(): number {
    return this.#wallStartMs + this.nowMs;
  }
}
