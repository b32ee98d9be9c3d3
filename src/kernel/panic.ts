/** Why the kernel died, in one line, from its log alone. */

import { logText } from './log-text.ts';
import type { LogRecord } from './printk.ts';

/** What the log says of the panic; a field that it does not say for certain is absent. */
export interface PanicFacts {
  /** The line that names the panic, as printed. */
  readonly message: string;
  readonly cpu?: number;
  readonly pid?: number;
  readonly comm?: string;
}

/**
 * Lines that announce a death, the most telling first. The last line of the first kind that occurs is the one: an earlier oops
 * may have been survived.
 * Source: Linux `kernel/panic.c`, `arch/x86/mm/fault.c`, `lib/bug.c`, `arch/x86/kernel/dumpstack.c`, `kernel/watchdog.c`,
 * `kernel/hung_task.c`.
 */
const HERALDS: readonly RegExp[] = [
  /^Kernel panic - not syncing: /,
  /^(BUG: kernel NULL pointer dereference|BUG: unable to handle|Unable to handle kernel )/,
  /^kernel BUG at /,
  /^(Oops: |Internal error: |general protection fault|double fault|divide error|stack segment|invalid opcode: )/,
  /^watchdog: (BUG: soft lockup|Watchdog detected hard LOCKUP)/,
  /^INFO: task .* blocked for more than /,
  /^rcu: INFO: .* self-detected stall/,
  /^sysrq: Trigger a crash/,
];

/** `CPU: 1 UID: 0 PID: 154 Comm: init Kdump: loaded Tainted: G …`; UID since 6.12. */
const CONTEXT =
  /^CPU: (\d{1,6})(?: UID: \d+)? PID: (\d{1,10}) Comm: (.{1,15}?)(?: Kdump: loaded)? (?:Tainted: |Not tainted )/;

/** Records between a herald and the line that names the CPU. A call trace lies between them at most. */
const CONTEXT_DISTANCE_MAX = 256;
/** Records kept of a log: what announces the end stands near it. */
const TAIL_RECORDS = 4096;

/** Collects the log's end while it is walked; memory stays bounded whatever the length of the log. */
export class PanicFinder {
  readonly #tail: LogRecord[] = [];

  add(record: LogRecord): void {
    this.#tail.push(record);
    if (this.#tail.length > 2 * TAIL_RECORDS) this.#tail.splice(0, TAIL_RECORDS);
  }

  /** What the records so far say, or `undefined` where none announces a death. */
  find(): PanicFacts | undefined {
    return findPanic(this.#tail);
  }
}

/** What `records`, oldest first, say of the panic. */
export function findPanic(records: readonly LogRecord[]): PanicFacts | undefined {
  const lines = records.map((record) => (record.facility === 0 ? firstLine(logText(record)) : ''));
  for (const herald of HERALDS) {
    const at = lines.findLastIndex((line) => herald.test(line));
    if (at >= 0) return { message: lines[at] as string, ...findContext(records, lines, at) };
  }
  return undefined;
}

/**
 * The CPU line that belongs to a herald: of the same caller, after it, else (a panic that an oops led to prints none of its own)
 * before it. Where callers are unknown, only one that follows before any other herald counts.
 */
function findContext(
  records: readonly LogRecord[],
  lines: readonly string[],
  herald: number,
): { cpu: number; pid: number; comm: string } | undefined {
  const caller = records[herald]?.caller;
  const isSameCaller = (i: number): boolean => {
    const other = records[i]?.caller;
    return caller !== undefined && other?.kind === caller.kind && other.id === caller.id;
  };
  const last = Math.min(lines.length - 1, herald + CONTEXT_DISTANCE_MAX);
  for (let i = herald + 1; i <= last; i++) {
    const context = parseContext(lines[i] as string);
    if (context && (caller === undefined || isSameCaller(i))) return context;
  }
  if (caller === undefined) return undefined;
  for (let i = herald - 1; i >= Math.max(0, herald - CONTEXT_DISTANCE_MAX); i--) {
    const context = parseContext(lines[i] as string);
    if (context && isSameCaller(i)) return context;
  }
  return undefined;
}

function parseContext(line: string): { cpu: number; pid: number; comm: string } | undefined {
  const match = CONTEXT.exec(line);
  return match ? { cpu: Number(match[1]), pid: Number(match[2]), comm: match[3] as string } : undefined;
}

function firstLine(text: string): string {
  const end = text.indexOf('\n');
  return end < 0 ? text : text.slice(0, end);
}
