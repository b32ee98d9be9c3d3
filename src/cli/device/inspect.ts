/** What stands in the way of formatting a device: who uses it, and what lies on it. */

import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { latin1 } from '../../base/cursor.ts';
import { NoDataError, RefusedError, UsageError } from '../../base/errors.ts';
import { hexBytes } from '../../base/hex.ts';
import type { BlockDevice } from '../../driver/block.ts';
import { STATE } from '../../format/kdump/log-layout.ts';
import { type BlockDeviceInfo, readBlockDevice } from '../../host/block-devices.ts';
import { type DeviceContents, findUsers, probeDevice } from '../../host/device-probe.ts';

/** What is to become a dump device. */
export interface Target {
  readonly path: string;
  /** Absent for a file. */
  readonly block?: BlockDeviceInfo;
}

/**
 * Looks at a path that is to be written: it must be a block device or a file with a size, and nobody may use it.
 *
 * @throws NoDataError `TARGET_MISSING`; UsageError `TARGET_KIND`; RefusedError `TARGET_EMPTY`, `DEVICE_IN_USE` (whose
 * `data.users` says who).
 */
export function findTarget(path: string): Target {
  if (!existsSync(path))
    throw new NoDataError(
      'TARGET_MISSING',
      `${path} is not there`,
      { path },
      path.startsWith('/dev/')
        ? '`lsblk` lists disks and partitions'
        : `for a file: \`truncate --size 8G ${path}\` makes one`,
    );
  const stat = statSync(path);
  const block = readBlockDevice(path);
  if (!block && !stat.isFile())
    throw new UsageError(
      'TARGET_KIND',
      `${path} is neither a block device nor a file`,
      { path },
      '`lsblk` lists disks and partitions',
    );
  if (!block && stat.size === 0)
    throw new RefusedError(
      'TARGET_EMPTY',
      `${path} has no bytes`,
      { path },
      `\`truncate --size 8G ${path}\` makes room`,
    );
  const users = block ? findUsers(block) : findLoops(path);
  if (users.length > 0) throw inUse(path, users);
  return block ? { path, block } : { path };
}

/** The error for a device in use: never forced. */
export function inUse(path: string, users: readonly string[]): RefusedError {
  return new RefusedError(
    'DEVICE_IN_USE',
    `${path} is in use: ${users.join('; ')}`,
    { path, users },
    'nothing in use is ever formatted, not even with --force',
  );
}

/** Loop devices over a file. */
function findLoops(path: string): string[] {
  const file = realpathSync(path);
  return readdirSync('/sys/class/block')
    .filter((name) => name.startsWith('loop') && readText(`/sys/class/block/${name}/loop/backing_file`) === file)
    .map((name) => `${path} lies under /dev/${name}`);
}

/** What formatting would destroy, in words, worst first; empty where there is nothing that anybody could miss. */
export function listLosses(contents: DeviceContents): string[] {
  const losses = contents.findings.map(({ name }) => name);
  const { label, unknown } = contents;
  // Signatures without a label are what a format leaves that was cut.
  if (unknown && latin1(unknown.bytes) !== 'diskdump')
    losses.push(`data of unknown kind (${hexBytes(unknown.bytes)} at byte ${unknown.offset})`);
  if (label && !HARMLESS.includes(label.state)) losses.unshift(`unsaved dump on the dump device ${label.uuid}`);
  return losses;
}

/** States of a label whose device holds nothing of its own. A label without a state was cut while it was formatted. */
const HARMLESS: readonly number[] = [0, STATE.ready, STATE.saved];

/**
 * Reads what lies on the device and refuses when that would be lost.
 *
 * @returns what is going to be destroyed; empty unless `force`. @throws RefusedError `DEVICE_NOT_EMPTY`; DeviceError.
 */
export function checkLosses(device: BlockDevice, force: boolean): { contents: DeviceContents; losses: string[] } {
  const contents = probeDevice(device);
  const losses = listLosses(contents);
  if (losses.length > 0 && !force)
    throw new RefusedError(
      'DEVICE_NOT_EMPTY',
      `${device.name} holds: ${losses.join(', ')}`,
      { path: device.name, found: losses },
      contents.label && losses[0]?.startsWith('unsaved')
        ? `\`diskdump save ${device.name}\` saves the dump; \`diskdump format --force ${device.name}\` destroys it`
        : `\`diskdump format --force ${device.name}\` destroys what is there`,
    );
  return { contents, losses };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
