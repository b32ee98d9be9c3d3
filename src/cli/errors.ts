/** From an error to what the operator sees: an exit code, two lines on stderr, and with `--json` a document. */

import {
  assertNever,
  DeviceError,
  DumpError,
  FormatError,
  NoDataError,
  ProtocolError,
  RefusedError,
  UnsupportedError,
  UsageError,
} from '../base/errors.ts';
import { errnoWords } from '../sys/errno.ts';
import { toJson } from './output.ts';

/** The exit codes of every verb. 0 and 1 and 4 are answers of a verb; the others come from the class of an error. */
export const EXIT = {
  done: 0,
  /** The answer is no: a check failed, or what was asked for is refused. */
  no: 1,
  usage: 2,
  /** Unreadable input. */
  unreadable: 3,
  /** The result is partial. */
  partial: 4,
  /** A device or the network failed. */
  device: 5,
  /** Ended by a signal: this and the signal's number. */
  interrupted: 128,
  /** A bug in diskdump. */
  bug: 70,
} as const;

/** The document that `--json` prints on stderr for an error. */
export interface ErrorDocument {
  readonly schema: 'diskdump.error/1';
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly data: Readonly<Record<string, unknown>>;
}

type ErrorKind = 'no' | 'usage' | 'unreadable' | 'device' | 'bug';

/** The exit code that belongs to an error, whatever was thrown. */
export function exitCodeOf(error: unknown): number {
  const kind = kindOf(error);
  switch (kind) {
    case 'no':
      return EXIT.no;
    case 'usage':
      return EXIT.usage;
    case 'unreadable':
      return EXIT.unreadable;
    case 'device':
      return EXIT.device;
    case 'bug':
      return EXIT.bug;
    default:
      return assertNever(kind);
  }
}

/**
 * The lines for stderr, without colour: what happened, what to do next, and for a bug where it happened.
 *
 * @param verbose adds the stack and the chain of causes.
 */
export function formatError(error: unknown, verbose: boolean): string[] {
  const lines = [`diskdump: ${messageOf(error)}`];
  const hint = hintOf(error);
  if (hint !== undefined) lines.push(`hint: ${hint}`);
  const bug = kindOf(error) === 'bug';
  if (bug) lines.push('this is a bug in diskdump: please report it with the command line and the lines below');
  if (verbose || bug) lines.push(...stackLines(error));
  return lines;
}

/** The same for programs. */
function errorDocument(error: unknown): ErrorDocument {
  const hint = hintOf(error);
  return {
    schema: 'diskdump.error/1',
    ...codeAndData(error),
    message: messageOf(error),
    ...(hint === undefined ? {} : { hint }),
  };
}

function codeAndData(error: unknown): Pick<ErrorDocument, 'code' | 'data'> {
  if (error instanceof DumpError) return { code: error.code, data: error.data };
  if (!isSystemError(error)) return { code: 'BUG', data: {} };
  const { code: errno, syscall, path } = error;
  return { code: 'SYSTEM_CALL', data: { errno, syscall, ...(path !== undefined && { path }) } };
}

/** The line of JSON for {@link errorDocument}. */
export function formatErrorDocument(error: unknown): string {
  return toJson(errorDocument(error));
}

function kindOf(error: unknown): ErrorKind {
  if (error instanceof RefusedError) return 'no';
  if (error instanceof UsageError) return 'usage';
  if (error instanceof FormatError || error instanceof UnsupportedError || error instanceof NoDataError) {
    return 'unreadable';
  }
  if (error instanceof DeviceError || error instanceof ProtocolError) return 'device';
  if (isSystemError(error)) return PATH_ERRORS.has(error.code) ? 'unreadable' : 'device';
  return 'bug';
}

/** Error numbers that say that a path of the command line cannot be had, rather than that a device failed. */
const PATH_ERRORS: ReadonlySet<string> = new Set([
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'EACCES',
  'EPERM',
  'ELOOP',
  'ENAMETOOLONG',
]);

/** An error of a system call that no layer below has put into words. */
function isSystemError(error: unknown): error is Error & { code: string; syscall: string; path?: string } {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    'syscall' in error &&
    typeof error.syscall === 'string'
  );
}

function messageOf(error: unknown): string {
  if (isSystemError(error)) return `${error.syscall} of ${error.path ?? 'a file'}: ${errnoWords(error.code)}`;
  return error instanceof Error ? error.message : String(error);
}

function hintOf(error: unknown): string | undefined {
  if (error instanceof DumpError) return error.hint;
  return isSystemError(error) ? SYSTEM_HINTS[error.code] : undefined;
}

const SYSTEM_HINTS: Readonly<Record<string, string>> = {
  ENOENT: 'is the path right?',
  ENOTDIR: 'is the path right?',
  EACCES: 'try again as root',
  EPERM: 'try again as root',
  ENOSPC: 'free some space there',
  EROFS: 'the file system is mounted read-only',
};

function stackLines(error: unknown): string[] {
  const lines: string[] = [];
  let current = error;
  for (let depth = 0; current instanceof Error && depth < CAUSES_MAX; depth++) {
    if (depth > 0) lines.push(`caused by: ${current.message}`);
    lines.push(...(current.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)));
    current = current.cause;
  }
  return lines;
}

const CAUSES_MAX = 8;
