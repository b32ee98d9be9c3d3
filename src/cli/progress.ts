/** The one line of progress: how much is done, how fast, how long it still takes. Sizes, rates and times as text. */

import type { Clock } from '../base/clock.ts';

/** What is being counted. */
export interface ProgressPlan {
  /** What is being done, a word or two: `saving`. */
  readonly label: string;
  /** How much there is; without it the line has no percentage and no time left. */
  readonly total?: number;
  readonly unit: 'bytes' | 'pages' | 'blocks';
}

/** A running line. Every call is cheap: the line is drawn at most ten times a second. */
export interface Progress {
  /** Says how much is done so far. `label` changes what the line says is being done. */
  update(done: number, label?: string): void;
  /** Takes the line off the terminal so that other text can be written; the next update draws it again. */
  clear(): void;
  /** Ends the line and removes it. Finish with a summary line of your own. */
  stop(): void;
}

const DRAW_INTERVAL_MS = 100;
/** The rate is the mean over about this long, so that it follows a device that slows down. */
const RATE_WINDOW_MS = 5000;

/** @param show draws a line, or removes it when the text is empty; absent: nothing is shown. */
export function startProgress(plan: ProgressPlan, clock: Clock, show: ((text: string) => void) | undefined): Progress {
  if (show === undefined) return { update: () => {}, clear: () => {}, stop: () => {} };
  let label = plan.label;
  let drawn = false;
  let drawnAtMs = Number.NEGATIVE_INFINITY;
  let mark = { done: 0, ms: clock.monotonicMs() };
  let rate = 0;
  return {
    update(done, newLabel) {
      label = newLabel ?? label;
      const now = clock.monotonicMs();
      if (now - drawnAtMs < DRAW_INTERVAL_MS) return;
      const elapsed = now - mark.ms;
      if (elapsed > 0) rate = ((done - mark.done) * 1000) / elapsed;
      if (elapsed > RATE_WINDOW_MS) mark = { done: (mark.done + done) / 2, ms: (mark.ms + now) / 2 };
      show(formatProgress({ ...plan, label }, done, rate));
      drawn = true;
      drawnAtMs = now;
    },
    clear() {
      if (drawn) show('');
      drawn = false;
      drawnAtMs = Number.NEGATIVE_INFINITY;
    },
    stop() {
      if (drawn) show('');
      drawn = false;
      drawnAtMs = Number.POSITIVE_INFINITY;
    },
  };
}

/** The text of the line. @param rate units a second; 0 when not known yet. */
export function formatProgress(plan: ProgressPlan, done: number, rate: number): string {
  const amount = (count: number) => (plan.unit === 'bytes' ? formatBytes(count) : `${Math.floor(count)} ${plan.unit}`);
  const parts = [plan.label];
  if (plan.total !== undefined && plan.total > 0) {
    parts.push(`${Math.floor((Math.min(done, plan.total) / plan.total) * 100)}%`);
    parts.push(`${amount(done)} of ${amount(plan.total)}`);
  } else {
    parts.push(amount(done));
  }
  if (rate > 0) {
    parts.push(plan.unit === 'bytes' ? formatRate(rate) : `${Math.round(rate)} ${plan.unit}/s`);
    if (plan.total !== undefined && plan.total > done)
      parts.push(`${formatDuration(((plan.total - done) / rate) * 1000)} left`);
  }
  return parts.join('  ');
}

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A size for people: three figures and a binary unit, `1.43 GiB`; whole below 1 KiB. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? Math.floor(value) : threeFigures(value)} ${BYTE_UNITS[unit]!}`;
}

/** A rate as disks state it: decimal megabytes a second. */
export function formatRate(bytesPerSec: number): string {
  if (bytesPerSec >= 1e9) return `${threeFigures(bytesPerSec / 1e9)} GB/s`;
  return `${threeFigures(bytesPerSec / 1e6)} MB/s`;
}

/** A duration for people: `0.41 s`, `12.3 s`, `3 min 20 s`, `2 h 05 min`. */
export function formatDuration(ms: number): string {
  if (ms < 60_000) return `${threeFigures(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  const pad = (value: number) => String(value).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

function threeFigures(value: number): string {
  if (value < 10) return value.toFixed(2);
  if (value < 100) return value.toFixed(1);
  return value.toFixed(0);
}
