/** The table of verbs, and the way from a command line to a verb's exit code. */

import { UsageError } from '../base/errors.ts';
import { EXIT, exitCodeOf, formatError, formatErrorDocument } from './errors.ts';
import { formatOverview, formatVerbHelp } from './help.ts';
import { findNearest } from './nearest.ts';
import { Io, type IoSettings, OutputClosed, type Terminal } from './output.ts';
import type { FlagTable, Verb, VerbGroup } from './verb.ts';

/** A line of the table: all that the overall help needs, and how to get the rest. */
export interface VerbEntry {
  readonly group: VerbGroup;
  readonly brief: string;
  /** How the arguments read in the overall help. */
  readonly usage: string;
  readonly load: () => Promise<{ readonly verb: Verb }>;
  /** Whether it calls devices in threads, which a dead disk can hold for ever. */
  readonly devices?: boolean;
}

export type VerbEntries = Readonly<Record<string, VerbEntry>>;

/** Every verb, in the order of the overall help. */
export const VERBS = {
  info: {
    group: 'look',
    usage: 'DUMP',
    brief: 'what a dump holds: kernel, panic, pages, notes',
    load: () => import('./verbs/info.ts'),
    devices: true,
  },
  log: { group: 'look', usage: 'DUMP', brief: 'the kernel log', load: () => import('./verbs/log.ts'), devices: true },
  pages: {
    group: 'look',
    usage: 'DUMP',
    brief: 'every page with a hash, to compare dumps',
    load: () => import('./verbs/pages.ts'),
    devices: true,
  },
  read: {
    group: 'look',
    usage: 'DUMP ADDR LENGTH',
    brief: 'memory, as raw bytes',
    load: () => import('./verbs/read.ts'),
    devices: true,
  },
  check: {
    group: 'look',
    usage: 'DEVICE|DUMP',
    brief: 'state of a dump device, or whether a dump is sound',
    load: () => import('./verbs/check.ts'),
    devices: true,
  },
  format: {
    group: 'protect',
    usage: 'DEVICE',
    brief: 'make a disk, partition or file a dump device',
    load: () => import('./verbs/format.ts'),
    devices: true,
  },
  arm: {
    group: 'protect',
    usage: '',
    brief: 'load the capture kernel, so that a panic leaves a dump',
    load: () => import('./verbs/arm.ts'),
  },
  disarm: { group: 'protect', usage: '', brief: 'unload the capture kernel', load: () => import('./verbs/disarm.ts') },
  status: {
    group: 'protect',
    usage: '',
    brief: 'whether a panic now would leave a dump',
    load: () => import('./verbs/status.ts'),
  },
  capture: {
    group: 'capture',
    usage: 'MACHINE --to DEVICE',
    brief: 'write the memory of a machine to a dump device',
    load: () => import('./verbs/capture.ts'),
    devices: true,
  },
  save: {
    group: 'save',
    usage: '[DEVICE]',
    brief: 'copy dumps off their devices to /var/crash',
    load: () => import('./verbs/save.ts'),
    devices: true,
  },
  list: { group: 'save', usage: '', brief: 'the saved dumps', load: () => import('./verbs/list.ts') },
  demo: {
    group: 'try',
    usage: '',
    brief: 'crash a real kernel in QEMU and watch the whole way',
    load: () => import('./verbs/demo.ts'),
  },
  completion: {
    group: 'try',
    usage: 'bash|zsh|fish',
    brief: 'completion script for a shell',
    load: () => import('./verbs/completion.ts'),
  },
  version: { group: 'try', usage: '', brief: 'version and runtime', load: () => import('./verbs/version.ts') },
} as const satisfies VerbEntries;

/** The flags that every verb has; see {@link commonFlags}. */
export const COMMON_FLAGS = {
  json: { kind: 'switch', brief: 'the answer as JSON', initial: false },
  quiet: { kind: 'switch', alias: 'q', brief: 'no narration', initial: false },
  verbose: { kind: 'switch', alias: 'v', brief: 'more narration, stacks of errors', initial: false },
} as const satisfies FlagTable;

/** The flags that every verb has, without `--json` for one whose answer has one form only. */
export function commonFlags(verb: Verb): FlagTable {
  if (verb.noJson === undefined) return COMMON_FLAGS;
  const { json: _, ...others } = COMMON_FLAGS;
  return others;
}

/**
 * Runs one command line.
 *
 * @param argv without the program's name.
 * @returns the exit code; everything that was said has been handed to `terminal`.
 */
export async function runApp(
  argv: readonly string[],
  terminal: Terminal,
  entries: VerbEntries = VERBS,
): Promise<number> {
  const early: IoSettings = { json: argv.includes('--json'), quiet: false, verbose: argv.includes('--verbose') };
  const io = new Io(terminal, early);
  try {
    const code = await dispatch(argv, io, entries);
    io.flush();
    return code;
  } catch (error) {
    if (error instanceof OutputClosed) return EXIT.done;
    return reportError(error, io);
  }
}

async function dispatch(argv: readonly string[], io: Io, entries: VerbEntries): Promise<number> {
  const [first, ...rest] = argv;
  if (first === undefined || first === '--help' || first === '-h') return printHelp(io, formatOverview(entries, io));
  if (first === '--version' || first === '-V') return dispatch(['version', ...rest], io, entries);
  if (first === 'help')
    return rest[0] === undefined ? dispatch([], io, entries) : dispatch([rest[0], '--help'], io, entries);
  const entry = Object.hasOwn(entries, first) ? entries[first] : undefined;
  if (entry === undefined) throw unknownVerb(first, Object.keys(entries));
  const { verb } = await entry.load();
  if (asksForHelp(rest)) return printHelp(io, formatVerbHelp(verb, entry, commonFlags(verb), io));
  return runVerb(verb, rest, io.terminal);
}

async function runVerb(verb: Verb, argv: readonly string[], terminal: Terminal): Promise<number> {
  const { parseArguments } = await import('./arguments.ts');
  const { flags, positionals } = await parseArguments(verb, argv, COMMON_FLAGS);
  if (flags.json && verb.noJson !== undefined)
    throw new UsageError(
      'USAGE_JSON',
      `${verb.name}: there is no JSON form of its answer`,
      { verb: verb.name },
      verb.noJson,
    );
  const io = new Io(terminal, flags);
  try {
    return await verb.run(flags, positionals, io);
  } finally {
    io.progress({ label: '', unit: 'bytes' }).stop();
    io.flush();
  }
}

function unknownVerb(name: string, known: readonly string[]): UsageError {
  const nearest = findNearest(name, known);
  const hint = nearest === undefined ? '`diskdump --help` lists the verbs' : `did you mean \`diskdump ${nearest}\`?`;
  return new UsageError('USAGE_VERB', `no verb '${name}'`, { verb: name }, hint);
}

function asksForHelp(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? undefined : end).some((word) => word === '--help' || word === '-h');
}

function printHelp(io: Io, lines: readonly string[]): number {
  for (const line of lines) io.print(line);
  return EXIT.done;
}

function reportError(error: unknown, io: Io): number {
  if (io.json) io.error([...formatError(error, io.verbose), formatErrorDocument(error)]);
  else io.error(formatError(error, io.verbose));
  return exitCodeOf(error);
}
