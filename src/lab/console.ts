/** What the serial console of a guest tells about a crash: lines become events of a timeline. */

import type { ConsoleLine } from './qemu.ts';

/** One thing that the console shows, in the order of a cycle. */
export type TimelineKind =
  | 'guest-up'
  | 'formatted'
  | 'armed'
  | 'panic'
  | 'capture-command-line'
  | 'capture-up'
  | 'vmcore-opened'
  | 'device-verified'
  | 'device-refused'
  | 'progress'
  | 'written'
  | 'stage1-restarted'
  | 'stage1-ended'
  | 'memory-left'
  | 'log-area'
  | 'final-action'
  | 'second-boot'
  | 'saved'
  | 'fault'
  | 'failed';

export interface TimelineEvent {
  readonly kind: TimelineKind;
  /** Milliseconds since the guest was started. */
  readonly atMs: number;
  /** The line, without its prefix and its time stamp. */
  readonly text: string;
}

/**
 * Which line means what: the first pattern that fits wins. Lines of the kernel, of PID 1 and of stage 1 in the capture
 * kernel (`diskdump: `), and of the guest's own scripts (`lab: `).
 */
const PATTERNS: readonly (readonly [TimelineKind, RegExp])[] = [
  ['guest-up', /^lab: (boot 1, kernel .*)/],
  ['second-boot', /^lab: (boot 2, kernel .*)/],
  ['formatted', /^lab: (formatted .*)/],
  ['armed', /^lab: (armed.*)/],
  ['saved', /^lab: (saved .*)/],
  ['fault', /^lab: fault: (.*)/],
  ['failed', /^lab: (failed.*)/],
  // An oops in an interrupt starts the capture kernel before panic() prints its line.
  ['panic', /(Kernel panic - not syncing: .*|BUG: kernel NULL pointer dereference.*)/],
  ['capture-command-line', /(?:Kernel c|C)ommand line: (.*elfcorehdr=.*)/],
  ['capture-up', /^diskdump: (capture kernel is up.*)/],
  ['stage1-restarted', /^diskdump: (stage 1 ended without a result .*starting it once more)/],
  ['stage1-ended', /^diskdump: (stage 1 says: .*|stage 1 ended without a result again.*|no heartbeat of stage 1 .*)/],
  ['memory-left', /^diskdump: (memory available at the end: .*)/],
  ['vmcore-opened', /^diskdump: (\/proc\/vmcore: \d+ bytes, .*)/],
  ['device-verified', /^diskdump: device verified: (.*)/],
  ['device-refused', /^diskdump: (.* passed over: .*)/],
  ['written', /^diskdump: (dump (?:complete|partial|failed): .*|no dump: .*)/],
  ['progress', /^diskdump: (pass .*: \d+ %.*)/],
  ['log-area', /^diskdump: ((?:log area|saving the kernel log).*)/],
  ['final-action', /^diskdump: (reboot|poweroff|halt)\b/],
];

/** The event that a console line is, or `undefined` for any other line. */
export function parseConsoleLine(line: ConsoleLine): TimelineEvent | undefined {
  const text = line.text.replace(/^\[ *\d+\.\d+\] /, '');
  for (const [kind, pattern] of PATTERNS) {
    const match = pattern.exec(text);
    if (match) return { kind, atMs: line.atMs, text: match[1] as string };
  }
  return undefined;
}

/** All events of a console, in order. */
export function parseConsole(lines: readonly ConsoleLine[]): TimelineEvent[] {
  return lines.map(parseConsoleLine).filter((event) => event !== undefined);
}

/** What PID 1 said about its memory, in bytes. */
export function parseMemoryLeft(text: string): { readonly atEnd: number; readonly lowest: number } | undefined {
  const match = /at the end: (\d+) kB, lowest (\d+) kB/.exec(text);
  return match ? { atEnd: Number(match[1]) * 1024, lowest: Number(match[2]) * 1024 } : undefined;
}
