/** A terminal that remembers what was said to it, for tests of verbs. */

import { ManualClock } from '../../src/base/clock.ts';
import { runApp } from '../../src/cli/app.ts';
import { Io, type IoSettings, OutputClosed, type Terminal } from '../../src/cli/output.ts';

/** A {@link Terminal} with its two streams in memory. */
export interface TestTerminal extends Terminal {
  readonly clock: ManualClock;
  /** What stdout got, as bytes. */
  outBytes(): Uint8Array;
  /** What stdout got, as text. */
  out(): string;
  err(): string;
}

/** Options of {@link testTerminal}. */
export interface TestTerminalOptions {
  readonly outIsTty?: boolean;
  readonly errIsTty?: boolean;
  readonly columns?: number;
  readonly env?: Readonly<Record<string, string>>;
  /** The reader of stdout goes away after this many bytes. */
  readonly closesAfter?: number;
}

/** Neither stream is a terminal unless the options say so. */
export function testTerminal(options: TestTerminalOptions = {}): TestTerminal {
  const chunks: Uint8Array[] = [];
  let written = 0;
  let err = '';
  const outBytes = () => new Uint8Array(Buffer.concat(chunks));
  return {
    writeOut(bytes) {
      written += bytes.length;
      if (written > (options.closesAfter ?? Number.POSITIVE_INFINITY)) throw new OutputClosed('closed by the test');
      chunks.push(bytes.slice());
    },
    writeErr: (text) => {
      err += text;
    },
    outIsTty: options.outIsTty ?? false,
    errIsTty: options.errIsTty ?? false,
    columns: options.columns ?? 80,
    env: options.env ?? {},
    clock: new ManualClock(),
    outBytes,
    out: () => new TextDecoder().decode(outBytes()),
    err: () => err,
  };
}

/** An {@link Io} over a {@link testTerminal}, for tests that call a verb's `run` themselves. */
export function testIo(settings: Partial<IoSettings> = {}, terminal = testTerminal()): Io {
  return new Io(terminal, { json: false, quiet: false, verbose: false, ...settings });
}

/** What a command line did. */
export interface CliResult {
  readonly code: number;
  readonly out: string;
  readonly outBytes: Uint8Array;
  readonly err: string;
}

/** Runs `diskdump ARGV…` in this process, e.g. `await runCli('info', path, '--json')`. */
export async function runCli(...argv: readonly string[]): Promise<CliResult> {
  const terminal = testTerminal();
  const code = await runApp(argv, terminal);
  return { code, out: terminal.out(), outBytes: terminal.outBytes(), err: terminal.err() };
}
