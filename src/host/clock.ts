/** The system's clock. */

import type { Clock } from '../base/clock.ts';

/** Node's monotonic clock and the system's wall clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
