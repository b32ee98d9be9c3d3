/** What stage 1 is told: `/etc/diskdump/stage1.json` in the capture kernel, written when the machine is armed. */

import { UsageError } from '../base/errors.ts';
import { parseUuid } from '../base/hex.ts';
import type { DeviceId } from '../host/block-devices.ts';

export const STAGE1_SCHEMA = 'diskdump.stage1/1';

/** A dump device as it was registered. */
export interface Stage1Device {
  /** As the operator named it; only for messages, names may differ in the capture kernel. */
  readonly path: string;
  readonly id: DeviceId;
  /** UUID of its label. */
  readonly uuid: string;
}

/** The whole configuration; times in milliseconds. */
export interface Stage1Config {
  readonly schema: typeof STAGE1_SCHEMA;
  /** Name of the machine, for the start record. */
  readonly machineName: string;
  /** Of the machine, 32 hex digits as in /etc/machine-id, '' if it has none: another machine's device is refused. */
  readonly machineId: string;
  /** In order of preference. */
  readonly devices: readonly Stage1Device[];
  /** Codec of the pages on the device. */
  readonly compress: 'none' | 'zlib' | 'zstd';
  /** How long a device of the list that has not appeared is waited for. */
  readonly deviceWaitMs: number;
  /** Deadline of a single call to a device. */
  readonly deviceTimeoutMs: number;
  /** SHA-256 of the armed image, 64 hex digits, '' if unknown: compared with the label's, never a reason for no dump. */
  readonly armedDigest: string;
  /** What is dumped; `/proc/vmcore` but in tests. */
  readonly vmcore: string;
}

const DEVICES_MAX = 16;
const TIME_MAX_MS = 3_600_000;

/** Checks the text of the file by hand: at panic a schema library would cost more memory than the windows. @throws UsageError */
export function parseStage1Config(text: string): Stage1Config {
  const raw = object(parseJson(text), 'the configuration');
  if (raw.schema !== STAGE1_SCHEMA) throw wrong('schema', raw.schema, STAGE1_SCHEMA);
  const compress = raw.compress ?? 'none';
  if (compress !== 'none' && compress !== 'zlib' && compress !== 'zstd')
    throw wrong('compress', compress, 'none, zlib or zstd');
  const devices = raw.devices;
  if (!Array.isArray(devices) || devices.length > DEVICES_MAX)
    throw wrong('devices', devices, `a list of at most ${DEVICES_MAX}`);
  return {
    schema: STAGE1_SCHEMA,
    machineName: textOf(raw, 'machineName', ''),
    machineId: hexOf(raw, 'machineId', 32),
    devices: devices.map(parseDevice),
    compress,
    deviceWaitMs: numberOf(raw, 'deviceWaitMs', 20_000, TIME_MAX_MS),
    deviceTimeoutMs: numberOf(raw, 'deviceTimeoutMs', 30_000, TIME_MAX_MS),
    armedDigest: hexOf(raw, 'armedDigest', 64),
    vmcore: textOf(raw, 'vmcore', '/proc/vmcore'),
  };
}

function parseDevice(value: unknown, index: number): Stage1Device {
  const raw = object(value, `devices[${index}]`);
  const id = object(raw.id, `devices[${index}].id`);
  const uuid = textOf(raw, 'uuid');
  if (!parseUuid(uuid)) throw wrong('uuid', uuid, 'a UUID');
  return {
    path: textOf(raw, 'path'),
    uuid,
    id: {
      serial: textOf(id, 'serial', ''),
      wwid: textOf(id, 'wwid', ''),
      bus: textOf(id, 'bus', ''),
      start: numberOf(id, 'start', undefined, Number.MAX_SAFE_INTEGER),
      size: numberOf(id, 'size', undefined, Number.MAX_SAFE_INTEGER),
    },
  };
}

type Raw = Readonly<Record<string, unknown>>;

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError('STAGE1_CONFIG', `reading the configuration: ${(error as Error).message}`, {});
  }
}

function object(value: unknown, what: string): Raw {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Raw;
  throw wrong(what, value, 'an object');
}

function textOf(raw: Raw, key: string, initial?: string): string {
  const value = raw[key] ?? initial;
  if (typeof value === 'string') return value;
  throw wrong(key, value, 'a text');
}

/** So many hex digits, or ''. */
function hexOf(raw: Raw, key: string, digits: number): string {
  const value = textOf(raw, key, '');
  if (value === '' || (value.length === digits && /^[0-9a-f]+$/.test(value))) return value;
  throw wrong(key, value, `${digits} hex digits`);
}

function numberOf(raw: Raw, key: string, initial: number | undefined, max: number): number {
  const value = raw[key] ?? initial;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max) return value;
  throw wrong(key, value, `a whole number from 0 to ${max}`);
}

function wrong(key: string, found: unknown, expected: string): UsageError {
  return new UsageError(
    'STAGE1_CONFIG',
    `reading the configuration: ${key} is ${JSON.stringify(found) ?? 'absent'}, expected ${expected}`,
    { key },
  );
}
