/** The one configuration file, `/etc/diskdump/diskdump.toml`: read by arm, format, save and status. */

import { existsSync, readFileSync } from 'node:fs';
import { parse as parseToml, TomlError } from 'smol-toml';
import type { z as Zod } from 'zod';
import { UsageError } from '../base/errors.ts';
import { errnoWords } from '../sys/errno.ts';

/** Where the file is unless `--config` says otherwise. */
export const CONFIG_PATH = '/etc/diskdump/diskdump.toml';

/** The configuration with every default filled in. Times are in seconds, sizes in bytes. */
export interface Config {
  /** Top-level keys that the file states; the others are defaults. */
  readonly stated: ReadonlySet<string>;
  /** Dump devices in order of preference: paths below /dev, or of files. */
  readonly devices: readonly string[];
  /** Codec of pages on the device. */
  readonly compress: 'none' | 'zlib' | 'zstd';
  /** What the capture kernel does once the dump is written. */
  readonly finalAction: 'reboot' | 'poweroff' | 'halt';
  /** What becomes of the old dump's blocks when a device is formatted anew. */
  readonly wipe: 'discard' | 'zero' | 'none';
  /** 2^n signature blocks of a device are written and checked; 0 = all. Of the label, once it is formatted. */
  readonly sampleRate: number;
  /** A full check reads 2^n blocks at a time. */
  readonly blockOrder: number;
  readonly logAreaBytes: number;
  readonly save: {
    readonly directory: string;
  };
  readonly timeouts: {
    /** How long stage 1 waits for a device of the list that has not appeared. */
    readonly deviceWait: number;
    /** Deadline of a single call to a device. */
    readonly device: number;
    /** PID 1 kills stage 1 after so long without a sign of life. */
    readonly heartbeat: number;
    /** Limit of saving the kernel log alone. */
    readonly fallback: number;
  };
  readonly captureKernel: {
    /** Words added to its command line. */
    readonly append: string;
    /** Whether the machine's hardware watchdog guards it. */
    readonly watchdog: boolean;
    /** More modules to load, by name. */
    readonly modules: readonly string[];
  };
}

/** A configuration and where it came from. */
export interface LoadedConfig {
  readonly config: Config;
  /** Absent when no file was there and all is default. */
  readonly path?: string;
}

/**
 * Reads the configuration. Without `path`, a missing `/etc/diskdump/diskdump.toml` gives the defaults.
 *
 * @throws UsageError `CONFIG_MISSING`, `CONFIG_UNREADABLE`, `CONFIG_SYNTAX` (line and column), `CONFIG_VALUE` (file, key, found, expected).
 */
export async function loadConfig(path?: string): Promise<LoadedConfig> {
  const file = path ?? CONFIG_PATH;
  if (!existsSync(file)) {
    if (path === undefined) return { config: await parseConfig('', file) };
    throw new UsageError(
      'CONFIG_MISSING',
      `reading the configuration: ${file} is not there`,
      { path: file },
      `is the path right? without --config it is ${CONFIG_PATH}; an empty file is valid, every key has a default`,
    );
  }
  return { config: await parseConfig(readConfig(file), file), path: file };
}

function readConfig(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const errno = (error as NodeJS.ErrnoException).code ?? '';
    throw new UsageError(
      'CONFIG_UNREADABLE',
      `reading the configuration ${file}: ${errnoWords(errno)}`,
      { path: file, errno },
      errno === 'EACCES' ? 'try again as root' : 'a text file is expected there',
      error,
    );
  }
}

/** The configuration in `text`; `file` is its name in messages. */
export async function parseConfig(text: string, file: string): Promise<Config> {
  const values = parseSyntax(text, file);
  const { z } = await import('zod');
  const result = schema(z).safeParse(values, { reportInput: true });
  if (result.success) return toConfig(result.data, new Set(Object.keys(values)));
  throw valueError(result.error.issues[0] as Zod.core.$ZodIssue, file);
}

/**
 * The keys of the file, with defaults. The units are those of docs/configuration.md.
 */
function schema(z: typeof Zod) {
  const seconds = (initial: number) =>
    z
      .number({ error: 'a number of seconds from 1 to 3600' })
      .min(1, LIMITS.seconds)
      .max(3600, LIMITS.seconds)
      .default(initial);
  const whole = (initial: number, max: number) => {
    const error = `a whole number from 0 to ${max}`;
    return z.number({ error }).int(error).min(0, error).max(max, error).default(initial);
  };
  const choice = <const T extends readonly [string, ...string[]]>(values: T, initial: T[number]) =>
    z.enum(values, { error: `one of ${values.map((value) => `"${value}"`).join(', ')}` }).default(initial as never);
  const path = z.string({ error: LIMITS.path }).regex(/^\//, LIMITS.path);
  return z.strictObject({
    devices: z
      .array(path, { error: 'a list of absolute paths, such as ["/dev/vdb"]' })
      .max(16, LIMITS.devices)
      .default([]),
    compress: choice(['none', 'zlib', 'zstd'], 'none'),
    final_action: choice(['reboot', 'poweroff', 'halt'], 'reboot'),
    wipe: choice(['discard', 'zero', 'none'], 'discard'),
    sample_rate: whole(8, 30),
    block_order: whole(2, 8),
    log_area_kib: z
      .number({ error: LIMITS.logArea })
      .int(LIMITS.logArea)
      .min(0, LIMITS.logArea)
      .max(2 ** 20, LIMITS.logArea)
      .multipleOf(64, LIMITS.logArea)
      .default(16384),
    save: z.strictObject({ directory: path.default('/var/crash') }, { error: LIMITS.table }).prefault({}),
    timeouts: z
      .strictObject(
        { device_wait: seconds(20), device: seconds(30), heartbeat: seconds(60), fallback: seconds(30) },
        { error: LIMITS.table },
      )
      .prefault({}),
    capture_kernel: z
      .strictObject(
        {
          append: z
            .string({ error: LIMITS.append })
            .regex(/^[^"\n]*$/, LIMITS.append)
            .max(1024, LIMITS.append)
            .default(''),
          watchdog: z.boolean({ error: 'true or false' }).default(true),
          modules: z
            .array(z.string({ error: LIMITS.modules }).regex(/^[\w-]+$/, LIMITS.modules), { error: LIMITS.modules })
            .max(64, LIMITS.modules)
            .default([]),
        },
        { error: LIMITS.table },
      )
      .prefault({}),
  });
}

/** What was expected, where a bound and a type say the same. */
const LIMITS = {
  seconds: 'a number of seconds from 1 to 3600',
  path: 'an absolute path',
  devices: 'at most 16 devices',
  logArea: 'a multiple of 64 from 0 to 1048576 (KiB)',
  append: 'words of a kernel command line, at most 1024 characters, no quotation marks',
  modules: 'a list of at most 64 module names',
  table: 'a table',
} as const;

type Parsed = Zod.infer<ReturnType<typeof schema>>;

function toConfig(parsed: Parsed, stated: ReadonlySet<string>): Config {
  return {
    stated,
    devices: parsed.devices,
    compress: parsed.compress,
    finalAction: parsed.final_action,
    wipe: parsed.wipe,
    sampleRate: parsed.sample_rate,
    blockOrder: parsed.block_order,
    logAreaBytes: parsed.log_area_kib * 1024,
    save: parsed.save,
    timeouts: {
      deviceWait: parsed.timeouts.device_wait,
      device: parsed.timeouts.device,
      heartbeat: parsed.timeouts.heartbeat,
      fallback: parsed.timeouts.fallback,
    },
    captureKernel: parsed.capture_kernel,
  };
}

function parseSyntax(text: string, file: string): object {
  try {
    return parseToml(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const { line, column } = error;
    const reason = error.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '');
    throw new UsageError(
      'CONFIG_SYNTAX',
      `reading ${file}: ${reason}, line ${line}, column ${column}`,
      { path: file, line, column },
      undefined,
      error,
    );
  }
}

function valueError(issue: Zod.core.$ZodIssue, file: string): UsageError {
  const hint = 'docs/configuration.md lists the keys';
  if (issue.code === 'unrecognized_keys') {
    const key = [...issue.path, issue.keys[0]].join('.');
    return new UsageError('CONFIG_VALUE', `reading ${file}: key ${key} is not known`, { path: file, key }, hint);
  }
  const key = issue.path.map(String).join('.');
  const found = JSON.stringify(issue.input) ?? 'nothing';
  return new UsageError(
    'CONFIG_VALUE',
    `reading ${file}: ${key} is ${found}, expected ${issue.message}`,
    { path: file, key, found, expected: issue.message },
    hint,
  );
}
