/** The errors of diskdump: one class per party who can act on it, each with a stable code, data and a next step. */

/** Values that place an error: addresses, sizes, names. Rendered by `--json` as they are. */
export type ErrorData = Readonly<Record<string, string | number | bigint | boolean | undefined | readonly string[]>>;

/**
 * Base of every error that diskdump throws on purpose.
 *
 * The message says what was being done, what was found, what was expected and where: addresses in hex, sizes in
 * bytes, lower case, no full stop.
 */
export class DumpError extends Error {
  /** Stable identifier, upper case with underscores, e.g. `KDUMP_PAGE_LENGTH`. */
  readonly code: string;
  readonly data: ErrorData;
  /** What the reader of the message should do next. */
  readonly hint: string | undefined;

  constructor(code: string, message: string, data: ErrorData = {}, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.data = data;
    this.hint = hint;
  }
}

/** The operator's command line or configuration. */
export class UsageError extends DumpError {}
/**
 * The answer is no: what was asked for is understood, and must not or cannot be done to this device or on this machine as
 * it is. The hint says what would change that.
 */
export class RefusedError extends DumpError {}
/** Bytes contradict the format they claim to be in. */
export class FormatError extends DumpError {}
/** Valid input that diskdump does not read yet. */
export class UnsupportedError extends DumpError {}
/** Nobody's fault: the page was excluded, is a hole, or was never captured. */
export class NoDataError extends DumpError {}
/** The peer of a protocol said something that its state does not allow. */
export class ProtocolError extends DumpError {}
/** A bug in diskdump. */
export class AssertionError extends DumpError {}

/** What a device was doing when it failed. */
export interface DeviceFailure {
  readonly device: string;
  readonly operation: 'open' | 'read' | 'write' | 'flush' | 'probe' | 'shutdown';
  /** Bytes from the start of the device. */
  readonly offset?: number;
  readonly length?: number;
  /** Name of the error number, such as `EIO`; `ETIMEDOUT` for a deadline that passed. */
  readonly errno?: string;
}

/** A disk or a network under us failed. */
export class DeviceError extends DumpError {
  readonly failure: DeviceFailure;

  constructor(code: string, message: string, failure: DeviceFailure, hint?: string, cause?: unknown) {
    super(code, message, { ...failure }, hint, cause);
    this.failure = failure;
  }
}

/** A read that failed at one place of a medium that answers: what lies beside it may still be read. */
export function isBadSector(error: unknown): error is DeviceError {
  return error instanceof DeviceError && error.failure.operation === 'read' && error.failure.errno === 'EIO';
}

/** Throws an {@link AssertionError} unless `condition` holds. */
export function assert(condition: boolean, message: string, data: ErrorData = {}): asserts condition {
  if (!condition) throw new AssertionError('ASSERTION', message, data);
}

/** Ends a `switch` over a union: the compiler proves that no member is left. */
export function assertNever(value: never): never {
  throw new AssertionError('ASSERTION', `unexpected value ${String(value)}`);
}

/**
 * Prepends what was being done to an error on its way out, keeping its class, code, data and hint.
 * Anything that is not a {@link DumpError} is returned as it is: it is a bug and must stay visible as one.
 */
export function withContext(error: unknown, doing: string): unknown {
  if (!(error instanceof DumpError)) return error;
  error.message = `${doing}: ${error.message}`;
  return error;
}
