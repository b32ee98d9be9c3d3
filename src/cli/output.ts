/** What a verb says: data on stdout, narration on stderr, colour and progress only for people. */

import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { styleText } from 'node:util';
import type { Clock } from '../base/clock.ts';
import { systemClock } from '../host/clock.ts';
import { type Progress, type ProgressPlan, startProgress } from './progress.ts';

/** The process's ends, handed in so that tests own them. Both writes are synchronous and whole. */
export interface Terminal {
  /** @throws {OutputClosed} when the reader of a pipe is gone. */
  writeOut(bytes: Uint8Array): void;
  writeErr(text: string): void;
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  /** Columns of the terminal; 80 where there is none. */
  readonly columns: number;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/** The reader of our stdout has closed it: not an error, the program ends quietly. */
export class OutputClosed extends Error {}

/** What the flags that every verb has ask of its narration. */
export interface IoSettings {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

type Style = Parameters<typeof styleText>[0];

const BUFFER_BYTES = 64 << 10;
const encoder = new TextEncoder();

/** A verb's voice. One per run. */
export class Io {
  readonly terminal: Terminal;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #used = 0;
  #progress: Progress | undefined;

  constructor(terminal: Terminal, settings: IoSettings) {
    this.terminal = terminal;
    this.json = settings.json;
    this.quiet = settings.quiet;
    this.verbose = settings.verbose;
  }

  /** Whether a person looks at stdout: tables may use the width, colour may be used. */
  get isTty(): boolean {
    return this.terminal.outIsTty;
  }

  get clock(): Clock {
    return this.terminal.clock;
  }

  /** Bytes of the answer on stdout, buffered; they are copied. */
  write(bytes: Uint8Array): void {
    if (bytes.length >= BUFFER_BYTES) {
      this.flush();
      this.terminal.writeOut(bytes);
      return;
    }
    if (this.#used + bytes.length > BUFFER_BYTES) this.flush();
    this.#buffer.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  /** One line of the answer on stdout. The caller has escaped what a dump says ({@link escapeControls}). */
  print(line = ''): void {
    this.write(encoder.encode(`${line}\n`));
    if (this.isTty) this.flush();
  }

  /** The answer, or one record of it, as one line of JSON; a bigint becomes a `"0x…"` string. */
  document(value: object): void {
    this.print(toJson(value));
  }

  /** Narration on stderr for people; silent with `--quiet`. */
  note(line: string): void {
    if (!this.quiet) this.#errLine(line);
  }

  /** Narration that only `--verbose` shows. */
  detail(line: string): void {
    if (this.verbose) this.#errLine(line);
  }

  /** Something that the operator must know, on stderr, also with `--quiet`. */
  warn(line: string): void {
    this.#errLine(`${this.style('yellow', 'warning:', 'err')} ${line}`);
  }

  /** Lines of an error; `main` calls it. */
  error(lines: readonly string[]): void {
    for (const line of lines) this.#errLine(line);
  }

  /** Colours `text` where a person sees it and `NO_COLOR` is not set; otherwise returns it as it is. */
  style(style: Style, text: string, stream: 'out' | 'err' = 'out'): string {
    const tty = stream === 'out' ? this.terminal.outIsTty : this.terminal.errIsTty;
    if (!tty || !coloursAllowed(this.terminal.env)) return text;
    // Importing node:util evaluates all its lazy parts, 4 ms of a start that takes 40: only where colour is wanted.
    return process.getBuiltinModule('node:util').styleText(style, text, { validateStream: false });
  }

  /** Whether {@link progress} is seen by anybody. */
  get showsProgress(): boolean {
    return this.terminal.errIsTty && !this.quiet;
  }

  /**
   * Begins the one line of progress: rate and time left on a terminal, silence in a pipe or with `--quiet`.
   * A second call replaces the first line.
   */
  progress(plan: ProgressPlan): Progress {
    this.#progress?.stop();
    const show = this.showsProgress ? (text: string): void => this.#showProgress(text) : undefined;
    this.#progress = startProgress(plan, this.terminal.clock, show);
    return this.#progress;
  }

  /** Hands everything buffered to stdout. */
  flush(): void {
    if (this.#used === 0) return;
    const used = this.#used;
    this.#used = 0;
    this.terminal.writeOut(this.#buffer.subarray(0, used));
  }

  #errLine(line: string): void {
    this.#progress?.clear();
    this.terminal.writeErr(`${line}\n`);
  }

  #showProgress(text: string): void {
    this.terminal.writeErr(text === '' ? '\r\x1b[K' : `\r${text.slice(0, this.terminal.columns - 1)}\x1b[K`);
  }
}

/** The terminal of this process. */
export function processTerminal(): Terminal {
  const [outIsTty, errIsTty] = [isatty(1), isatty(2)];
  return {
    writeOut: (bytes) => writeWhole(1, bytes),
    writeErr: (text) => writeQuietly(2, encoder.encode(text)),
    outIsTty,
    errIsTty,
    get columns() {
      // A terminal that does not know its width says 0.
      return (outIsTty ? process.stdout.columns : errIsTty ? process.stderr.columns : undefined) || 80;
    },
    env: process.env,
    clock: systemClock,
  };
}

/** JSON on one line; a bigint (a kernel address, a number past 2^53) becomes a `"0x…"` string. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, field: unknown) =>
    typeof field === 'bigint' ? `0x${field.toString(16)}` : field,
  );
}

/**
 * Makes a string from a dump safe to show: control characters, which could drive the terminal, become `\xNN`.
 * Tabs stay; line feeds do not.
 */
export function escapeControls(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) =>
    char === '\t' ? char : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Rows as columns two spaces apart; the columns named in `right` are set to the right, as numbers are. */
export function formatTable(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

function coloursAllowed(env: Terminal['env']): boolean {
  return (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
}

/** Writes all of it, waiting where the descriptor is non-blocking and full. */
function writeWhole(fd: number, bytes: Uint8Array): void {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += writeSync(fd, bytes, offset);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'EPIPE') throw new OutputClosed('the reader of stdout is gone');
      if (code !== 'EAGAIN') throw error;
      Atomics.wait(pause, 0, 0, 1);
    }
  }
}

/** Nobody can be told when stderr fails. */
function writeQuietly(fd: number, bytes: Uint8Array): void {
  try {
    writeWhole(fd, bytes);
  } catch {
    // The answer on stdout and the exit code still tell.
  }
}
