/** The kernel log as text, line by line: like crash's `log`, byte for byte like `vmcore-dmesg`, and as values for JSON. */

import type { LogCaller, LogRecord } from './printk.ts';

/** How {@link formatLogLine} dresses a record. */
export interface LogLineOptions {
  /** Wall-clock time of boot, seconds since 1970: time stamps become dates in UTC, as crash's `log -T` writes them. */
  readonly bootTimeSeconds?: number | undefined;
  /** `<4>` before the text, as crash's `log -m`. */
  readonly showLevel?: boolean;
}

/** One record for `--json`, as `cli.md` has it. */
export interface LogDocument {
  readonly seq: number;
  /** Nanoseconds since boot; a bigint, so that JSON gets a `"0x…"` string. */
  readonly tsNs: bigint;
  readonly level: number;
  readonly facility: number;
  /** `T` and a thread id, or `C` and a CPU number. */
  readonly caller?: string;
  readonly text: string;
  readonly subsystem?: string;
  readonly device?: string;
  readonly continuation?: true;
  readonly lost?: true;
}

const NS_PER_SECOND = 1_000_000_000n;
const TAB = 0x09;
const LF = 0x0a;
const DOT = 0x2e;
const latin1 = new TextDecoder('latin1');
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * A record as crash's `log` prints it, without the final newline: `[    9.506630] text`. Further lines of a text are indented by
 * the length of the prefix, bytes that do not print become dots; so do, unlike in crash, carriage return and the like, which
 * would let a dump write over other lines of the terminal.
 * Source: crash 9.0.2 `printk.c`, `dump_record`; checked with the corpus' `crash/log.txt` and `crash/log-m.txt`.
 */
export function formatLogLine(record: LogRecord, options: LogLineOptions = {}): string {
  const { bootTimeSeconds } = options;
  const stamp =
    bootTimeSeconds === undefined
      ? formatStamp(record.tsNs)
      : `[${formatDate(bootTimeSeconds + Number(record.tsNs / NS_PER_SECOND))}] `;
  const prefix = options.showLevel ? `${stamp}<${record.level}>` : stamp;
  let text = '';
  for (const byte of record.text) {
    if (byte === LF) text += `\n${' '.repeat(prefix.length)}`;
    else text += String.fromCharCode(byte === TAB || isPrint(byte) ? byte : DOT);
  }
  return prefix + text;
}

/**
 * A record as `vmcore-dmesg` prints it, newline and all.
 * Source: kexec-tools 2.0.25 `util_lib/elf_info.c`, `dump_dmesg_lockless`; checked with the corpus' `vmcore-dmesg.txt`.
 */
export function formatVmcoreDmesg(record: LogRecord): Uint8Array {
  let line = formatStamp(record.tsNs);
  for (const byte of record.text) {
    line += isPrint(byte) || isSpace(byte) ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return Uint8Array.from(`${line}\n`, (char) => char.charCodeAt(0));
}

/** A record for JSON. */
export function logDocument(record: LogRecord): LogDocument {
  return {
    seq: record.seq,
    tsNs: record.tsNs,
    level: record.level,
    facility: record.facility,
    ...(record.caller && { caller: formatCaller(record.caller) }),
    text: logText(record),
    ...(record.subsystem !== undefined && { subsystem: record.subsystem }),
    ...(record.device !== undefined && { device: record.device }),
    ...(record.continuation && { continuation: true }),
    ...(record.lost && { lost: true }),
  };
}

/** The record's text as a string: UTF-8 where it is, otherwise one character per byte. */
export function logText(record: LogRecord): string {
  try {
    return utf8.decode(record.text);
  } catch {
    return latin1.decode(record.text);
  }
}

/** `T1` or `C0`, as the kernel prints callers with CONFIG_PRINTK_CALLER. */
export function formatCaller(caller: LogCaller): string {
  return `${caller.kind === 'cpu' ? 'C' : 'T'}${caller.id}`;
}

/** `[    9.506630] `, the seconds five wide. */
export function formatStamp(tsNs: bigint): string {
  const seconds = String(tsNs / NS_PER_SECOND).padStart(5);
  const micros = String((tsNs % NS_PER_SECOND) / 1000n).padStart(6, '0');
  return `[${seconds}.${micros}] `;
}

const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'];
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Sat Nov 21 03:04:42 UTC 2026`, as crash writes dates; seconds that no calendar holds are written as they are. */
export function formatDate(seconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return `${seconds} s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(':');
  const day = String(date.getUTCDate()).padStart(2);
  return `${DAYS[date.getUTCDay()]} ${MONTHS[date.getUTCMonth()]} ${day} ${time} UTC ${date.getUTCFullYear()}`;
}

/** isprint of the C locale. */
function isPrint(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}

/** isspace of the C locale, the space apart. */
function isSpace(byte: number): boolean {
  return byte >= TAB && byte <= 0x0d;
}
