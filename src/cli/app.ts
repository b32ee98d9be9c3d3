/** The table of verbs, and the way from a command line to a verb's exit code. */

import type { ArgumentScannerError } from '@stricli/core';
import {
  buildApplication,
  buildCommand,
  formatMessageForArgumentScannerError,
  run as runStricli,
  text_en as text,
} from '@stricli/core';
import { UsageError } from '../base/errors.ts';
import { EXIT, exitCodeOf, formatError, formatErrorDocument } from './errors.ts';
import { formatOverview, formatVerbHelp, kebab } from './help.ts';
import { Io, type IoSettings, OutputClosed, type Terminal } from './output.ts';
import type { CommonFlags, Flag, FlagTable, Verb, VerbGroup } from './verb.ts';

/** A line of the table: all that the overall help needs, and how to get the rest. */
export interface VerbEntry {
  readonly group: VerbGroup;
  readonly brief: string;
  /** How the arguments read in the overall help. */
  readonly usage: string;
  readonly load: () => Promise<{ readonly verb: Verb }>;
}

export type VerbEntries = Readonly<Record<string, VerbEntry>>;

/** Every verb, in the order of the overall help. */
export const VERBS = {
  info: {
    group: 'look',
    usage: 'DUMP',
    brief: 'what a dump holds: kernel, panic, pages, notes',
    load: () => import('./verbs/info.ts'),
  },
  log: { group: 'look', usage: 'DUMP', brief: 'the kernel log', load: () => import('./verbs/log.ts') },
  pages: {
    group: 'look',
    usage: 'DUMP',
    brief: 'every page with a hash, to compare dumps',
    load: () => import('./verbs/pages.ts'),
  },
  read: {
    group: 'look',
    usage: 'DUMP ADDR LENGTH',
    brief: 'memory, as raw bytes',
    load: () => import('./verbs/read.ts'),
  },
  check: {
    group: 'look',
    usage: 'DEVICE|DUMP',
    brief: 'state of a dump device, or whether a dump is sound',
    load: () => import('./verbs/check.ts'),
  },
  format: {
    group: 'protect',
    usage: 'DEVICE',
    brief: 'make a disk, partition or file a dump device',
    load: () => import('./verbs/format.ts'),
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
  },
  save: {
    group: 'save',
    usage: '[DEVICE]',
    brief: 'copy dumps off their devices to /var/crash',
    load: () => import('./verbs/save.ts'),
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

/** The flags that every verb has. */
export const COMMON_FLAGS = {
  json: { kind: 'switch', brief: 'the answer as JSON', initial: false },
  quiet: { kind: 'switch', alias: 'q', brief: 'no narration', initial: false },
  verbose: { kind: 'switch', alias: 'v', brief: 'more narration, stacks of errors', initial: false },
} as const satisfies FlagTable;

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
  if (asksForHelp(rest)) return printHelp(io, formatVerbHelp(verb, entry, COMMON_FLAGS, io));
  return runVerb(verb, rest, io.terminal);
}

async function runVerb(verb: Verb, argv: readonly string[], terminal: Terminal): Promise<number> {
  const { flags, positionals } = await parseArguments(verb, argv);
  const io = new Io(terminal, flags);
  try {
    return await verb.run(flags, positionals, io);
  } finally {
    io.progress({ label: '', unit: 'bytes' }).stop();
    io.flush();
  }
}

/** What a command line gives a verb. */
export interface ParsedArguments {
  readonly flags: Readonly<Record<string, unknown>> & CommonFlags;
  readonly positionals: readonly string[];
}

/** Parses what follows the verb's name. @throws {UsageError} naming what is wrong and the nearest right flag. */
export async function parseArguments(verb: Verb, argv: readonly string[]): Promise<ParsedArguments> {
  let parsed: ParsedArguments | undefined;
  let problem: unknown;
  const all: FlagTable = { ...verb.flags, ...COMMON_FLAGS };
  const [minimum, maximum] = positionalBounds(verb);
  const command = buildCommand<Record<string, unknown>, string[]>({
    func: (given, ...positionals) => {
      const flags = Object.fromEntries(Object.entries(all).map(([name, spec]) => [name, given[name] ?? spec.initial]));
      parsed = { flags: flags as ParsedArguments['flags'], positionals };
    },
    parameters: {
      flags: Object.fromEntries(Object.entries(all).map(([name, spec]) => [name, toStricli(spec)])) as never,
      aliases: aliasesOf(all),
      positional: {
        kind: 'array',
        parameter: { brief: '', parse: (input: string) => input, placeholder: 'arg' },
        minimum,
        ...(maximum === Number.POSITIVE_INFINITY ? {} : { maximum }),
      },
    },
    docs: { brief: '' },
  });
  const app = buildApplication(command, {
    name: 'diskdump',
    scanner: { caseStyle: 'allow-kebab-for-camel', allowArgumentEscapeSequence: true },
    localization: {
      text: {
        ...text,
        exceptionWhileParsingArguments: (error) => {
          problem = error;
          return '';
        },
      },
    },
  });
  const sink = { write: () => {} };
  await runStricli(app, argv, { process: { stdout: sink, stderr: sink, env: {} } });
  if (parsed === undefined) throw wrongArguments(verb, problem, argv.length);
  return parsed;
}

function toStricli(spec: Flag): object {
  const { brief } = spec;
  switch (spec.kind) {
    case 'switch':
      return { kind: 'boolean', brief, optional: true, withNegated: false };
    case 'choice':
      return { kind: 'enum', brief, optional: true, values: spec.values ?? [] };
    case 'list':
      return { kind: 'parsed', brief, optional: true, variadic: ',', parse: spec.parse ?? String };
    case 'value':
      return { kind: 'parsed', brief, optional: true, parse: spec.parse ?? String };
  }
}

function aliasesOf(flags: FlagTable): Record<string, string> {
  const pairs = Object.entries(flags).flatMap(([name, { alias }]) => (alias === undefined ? [] : [[alias, name]]));
  return Object.fromEntries(pairs) as Record<string, string>;
}

function positionalBounds(verb: Verb): [number, number] {
  const minimum = verb.positionals.filter(({ count }) => count === undefined || count === 'some').length;
  const open = verb.positionals.some(({ count }) => count === 'some' || count === 'many');
  return [minimum, open ? Number.POSITIVE_INFINITY : verb.positionals.length];
}

function wrongArguments(verb: Verb, problem: unknown, given: number): UsageError {
  const hint = `\`diskdump ${verb.name} --help\` shows what it takes`;
  if (problem === undefined) {
    return new UsageError(
      'USAGE',
      `the arguments of ${verb.name} cannot be understood`,
      { verb: verb.name, given },
      hint,
    );
  }
  const [minimum] = positionalBounds(verb);
  const named = verb.positionals.map(({ name }) => name).join(' ');
  const found = formatMessageForArgumentScannerError(problem as ArgumentScannerError, {
    ArgumentParseError: ({ externalFlagNameOrPlaceholder, exception }) =>
      `--${externalFlagNameOrPlaceholder}: ${exception instanceof Error ? exception.message : String(exception)}`,
    FlagNotFoundError: ({ input, corrections }) =>
      `no flag '--${input}'${corrections.length > 0 ? `, did you mean --${kebab(corrections[0]!)}?` : ''}`,
    AliasNotFoundError: ({ input }) => `no flag '-${input}'`,
    UnexpectedPositionalError: ({ input }) =>
      verb.positionals.length === 0 ? `takes no argument, got '${input}'` : `one argument too many: '${input}'`,
    UnsatisfiedPositionalError: () => `needs ${minimum === 1 ? 'the argument' : 'the arguments'} ${named}`,
    UnsatisfiedFlagError: ({ externalFlagName }) => `--${externalFlagName} needs a value`,
    EnumValidationError: ({ externalFlagName, input, values }) =>
      `--${externalFlagName} '${input}' is none of ${values.join(', ')}`,
  });
  return new UsageError('USAGE', `${verb.name}: ${lowerFirst(found)}`, { verb: verb.name }, hint);
}

function unknownVerb(name: string, known: readonly string[]): UsageError {
  const nearest = findNearest(name, known);
  const hint = nearest === undefined ? '`diskdump --help` lists the verbs' : `did you mean \`diskdump ${nearest}\`?`;
  return new UsageError('USAGE_VERB', `no verb '${name}'`, { verb: name }, hint);
}

/** The word that takes the fewest edits (at most half its length), or that `name` begins. */
export function findNearest(name: string, words: readonly string[]): string | undefined {
  const begun = name === '' ? undefined : words.find((word) => word.startsWith(name));
  if (begun !== undefined) return begun;
  const ranked = words.map((word) => ({ word, edits: editDistance(name, word) })).sort((a, b) => a.edits - b.edits);
  const best = ranked[0];
  return best !== undefined && best.edits <= Math.ceil(best.word.length / 2) - 1 ? best.word : undefined;
}

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`; words are cut at 64. */
function editDistance(a: string, b: string): number {
  const [from, to] = [a.slice(0, 64), b.slice(0, 64)];
  const rows = [Array.from({ length: to.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      if (swapped) cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
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

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
