/** The parser of a verb's command line, computed from the verb's data; Stricli does the scanning. Loaded when a verb runs. */

import type { ArgumentScannerError } from '@stricli/core';
import {
  buildApplication,
  buildCommand,
  formatMessageForArgumentScannerError,
  run as runStricli,
  text_en as text,
} from '@stricli/core';
import { UsageError } from '../base/errors.ts';
import { kebab } from './help.ts';
import { findNearest } from './nearest.ts';
import type { CommonFlags, Flag, FlagTable, Verb } from './verb.ts';

/** What a command line gives a verb. */
export interface ParsedArguments {
  readonly flags: Readonly<Record<string, unknown>> & CommonFlags;
  readonly positionals: readonly string[];
}

/** Parses what follows the verb's name. @throws {UsageError} naming what is wrong and the nearest right flag. */
export async function parseArguments(verb: Verb, argv: readonly string[], common: FlagTable): Promise<ParsedArguments> {
  refuseOddFlags(verb, argv);
  let parsed: ParsedArguments | undefined;
  let problem: unknown;
  const all: FlagTable = { ...verb.flags, ...common };
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
  await runStricli(app, splitAttached(argv, all), { process: { stdout: sink, stderr: sink, env: {} } });
  if (parsed === undefined) throw wrongArguments(verb, problem, { all, given: argv.length });
  return parsed;
}

/** Stricli takes `--x`, `---all` and their like for arguments; nobody who types them means that. */
function refuseOddFlags(verb: Verb, argv: readonly string[]): void {
  const end = argv.indexOf('--');
  const odd = argv.slice(0, end < 0 ? undefined : end).find((word) => /^--(?![a-z][\w.-]+(?:=|$))/i.test(word));
  if (odd !== undefined) throw refusal(verb, `no flag '${odd}'`);
}

/** `-lerr` as `-l err`, which getopt(3) takes and Stricli does not. */
function splitAttached(argv: readonly string[], flags: FlagTable): string[] {
  const letters = Object.values(flags).flatMap(({ kind, alias }) => (kind === 'switch' || !alias ? [] : [alias]));
  const end = argv.indexOf('--');
  return argv.flatMap((word, n) => {
    const attached = /^-[a-z]./i.test(word) && letters.includes(word[1]!) && (end < 0 || n < end);
    return attached ? [word.slice(0, 2), word.slice(2).replace(/^=/, '')] : [word];
  });
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

interface Given {
  readonly all: FlagTable;
  /** Words. */
  readonly given: number;
}

function wrongArguments(verb: Verb, problem: unknown, { all, given }: Given): UsageError {
  if (problem === undefined) return refusal(verb, `the ${given} words after it cannot be understood`);
  const [minimum] = positionalBounds(verb);
  const named = verb.positionals.map(({ name }) => name).join(' ');
  const kinds = new Map(Object.entries(all).map(([name, { kind }]) => [kebab(name), kind]));
  const found = formatMessageForArgumentScannerError(problem as ArgumentScannerError, {
    ArgumentParseError: ({ externalFlagNameOrPlaceholder: name, input, exception }) =>
      kinds.get(kebab(name)) === 'switch'
        ? `--${name} takes no value, got '${input}'`
        : `--${name}: ${exception instanceof Error ? exception.message : String(exception)}`,
    FlagNotFoundError: ({ input }) => {
      const nearest = findNearest(input, [...kinds.keys()]);
      return `no flag '--${input}'${nearest === undefined ? '' : `, did you mean --${nearest}?`}`;
    },
    AliasNotFoundError: ({ input }) => `no flag '-${input}'`,
    UnexpectedPositionalError: ({ input }) =>
      verb.positionals.length === 0 ? `takes no argument, got '${input}'` : `one argument too many: '${input}'`,
    UnsatisfiedPositionalError: () => `needs ${minimum === 1 ? 'the argument' : 'the arguments'} ${named}`,
    UnsatisfiedFlagError: ({ externalFlagName }) => `--${externalFlagName} needs a value`,
    EnumValidationError: ({ externalFlagName, input, values }) =>
      `--${externalFlagName} '${input}' is none of ${values.join(', ')}`,
  });
  return refusal(verb, lowerFirst(found));
}

function refusal(verb: Verb, found: string): UsageError {
  const hint = `\`diskdump ${verb.name} --help\` shows what it takes`;
  return new UsageError('USAGE', `${verb.name}: ${found}`, { verb: verb.name }, hint);
}

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
