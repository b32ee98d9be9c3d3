/**
 * What a verb is: data. Help, completion and the parser are computed from it.
 *
 * To add a verb: write `verbs/NAME.ts` that exports `verb = defineVerb({…})`, and add its line (group, brief, loader)
 * to the table in `app.ts`, so that `--help` need not import it.
 */

import { UsageError } from '../base/errors.ts';
import type { Io } from './output.ts';

/** Where a verb stands in the overall help, in the order in which a user meets them. */
export type VerbGroup = 'look' | 'convert' | 'protect' | 'capture' | 'save' | 'serve' | 'try';

/** One flag. `T` is what `run` gets; `initial` is that value when the flag is not given. */
export interface Flag<T = unknown> {
  readonly kind: 'switch' | 'value' | 'choice' | 'list';
  readonly brief: string;
  readonly initial: T;
  /** One letter: `T` for `-T`. */
  readonly alias?: string;
  /** How the value is called in help: `BYTES`. */
  readonly placeholder?: string;
  /** Shown in the usage line; `run` refuses a command line without it. */
  readonly required?: true;
  /** The words of a `choice`; of a list those that completion offers. */
  readonly values?: readonly string[];
  /** From text to value; for a list, to one element. Throws {@link UsageError}. */
  readonly parse?: (text: string) => unknown;
}

/** Flags by their camelCase name; `--noMap` is also `--no-map`. */
export type FlagTable = Readonly<Record<string, Flag>>;

/** The flags that every verb has; `run` finds them in its {@link Io} too. */
export interface CommonFlags {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
}

export type FlagValues<F extends FlagTable> = {
  readonly [K in keyof F]: F[K] extends Flag<infer T> ? T : never;
} & CommonFlags;

/** One positional argument. `optional` comes after those that must be there, and at most one of a verb may repeat. */
export interface Positional {
  /** As in help: `DUMP`. */
  readonly name: string;
  readonly brief: string;
  /** Default: exactly one. `some` = one or more, `many` = any number. */
  readonly count?: 'optional' | 'some' | 'many';
  /** The words it may be, for completion; absent: a path. */
  readonly words?: readonly string[];
}

export interface Example {
  /** Without the leading `diskdump `. */
  readonly command: string;
  readonly brief: string;
}

export interface Verb<F extends FlagTable = FlagTable> {
  readonly name: string;
  /** A few sentences under the usage line of `--help`; lines are printed as they are. */
  readonly text: string;
  readonly examples: readonly Example[];
  readonly flags: F;
  readonly positionals: readonly Positional[];
  /** Set where the answer has one form only: what to do in place of `--json`, which is then refused. */
  readonly noJson?: string;
  /**
   * Does the work and returns the exit code (`EXIT` in `errors.ts`). Throws a DumpError for anything that goes wrong.
   *
   * @param positionals as given, within the bounds of `positionals`.
   */
  run(flags: FlagValues<F>, positionals: readonly string[], io: Io): number | Promise<number>;
}

/** Declares a verb, so that `run` sees the types of its flags. */
export function defineVerb<const F extends FlagTable>(verb: Verb<F>): Verb<F> {
  return verb;
}

interface FlagOptions {
  readonly alias?: string;
  readonly placeholder?: string;
  readonly required?: true;
}

/** Makers of flags. */
export const flag = {
  /** `--force`: true when given. */
  switch: (brief: string, options: FlagOptions = {}): Flag<boolean> => ({
    kind: 'switch',
    brief,
    initial: false,
    ...options,
  }),
  /** Any text. */
  text: (brief: string, options: FlagOptions = {}): Flag<string | undefined> => value(brief, (text) => text, options),
  /** A whole number, decimal or `0x…`, from `min` (default 0) to `max`. */
  integer: (
    brief: string,
    options: FlagOptions & { readonly min?: number; readonly max?: number } = {},
  ): Flag<number | undefined> => {
    const { min = 0, max = Number.MAX_SAFE_INTEGER, ...rest } = options;
    return value(brief, (text) => parseInteger(text, min, max), { placeholder: 'N', ...rest });
  },
  /** Bytes: a number, or with K, M, G, T in powers of 1024. */
  size: (brief: string, options: FlagOptions = {}): Flag<number | undefined> =>
    value(brief, parseSize, { placeholder: 'SIZE', ...options }),
  /** Milliseconds from `500ms`, `90s`, `2m`, `1h`; a plain number is seconds. */
  duration: (brief: string, options: FlagOptions = {}): Flag<number | undefined> =>
    value(brief, parseDuration, { placeholder: 'TIME', ...options }),
  /** One of some words. */
  choice: <const V extends string>(
    values: readonly V[],
    brief: string,
    options: FlagOptions = {},
  ): Flag<V | undefined> => ({ kind: 'choice', brief, values, initial: undefined, ...options }),
  /** May be given several times, or once with commas. */
  list: (
    brief: string,
    options: FlagOptions & { readonly values?: readonly string[] } = {},
  ): Flag<readonly string[]> => ({
    kind: 'list',
    brief,
    initial: [],
    ...options,
  }),
  /** A value with a parser of its own, which throws {@link UsageError}. */
  value,
} as const;

function value<T>(brief: string, parse: (text: string) => T, options: FlagOptions = {}): Flag<T | undefined> {
  return { kind: 'value', brief, initial: undefined, parse, ...options };
}

/** A whole number, decimal or `0x…`. @throws {UsageError} for anything else, or out of bounds. */
export function parseInteger(text: string, min = 0, max: number = Number.MAX_SAFE_INTEGER): number {
  const number = /^(-?\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(number) || number < min || number > max) {
    throw new UsageError('USAGE_NUMBER', `'${text}' is not a whole number from ${min} to ${max}`, { text, min, max });
  }
  return number;
}

const SIZE_SHIFTS: Readonly<Record<string, number>> = { '': 0, k: 10, m: 20, g: 30, t: 40 };

/** Bytes from `4096`, `4K`, `1.5G`, `64MiB`. @throws {UsageError} */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text);
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * 2 ** SIZE_SHIFTS[match[2]!.toLowerCase()]!);
  if (!Number.isSafeInteger(bytes)) {
    throw new UsageError('USAGE_SIZE', `'${text}' is not a size such as 4096, 64K, 16M, 2G`, { text });
  }
  return bytes;
}

const TIME_UNITS_MS: Readonly<Record<string, number>> = { ms: 1, '': 1000, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds from `90s`, `500ms`, `2m`, `1h`, or plain seconds. @throws {UsageError} */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|)$/i.exec(text);
  if (match === null) {
    throw new UsageError('USAGE_TIME', `'${text}' is not a time such as 500ms, 90s, 2m, 1h`, { text });
  }
  return Number(match[1]) * TIME_UNITS_MS[match[2]!.toLowerCase()]!;
}
