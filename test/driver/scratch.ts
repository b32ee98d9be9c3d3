/** Scratch files and loop devices for the drivers' tests; all are gone when the test process ends. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeviceError, type DeviceFailure } from '../../src/base/errors.ts';

const folders: string[] = [];
const mounts: string[] = [];
const loops: string[] = [];

process.on('exit', cleanUp);

/** Takes down what this process made; runs by itself at an ordinary end. */
export function cleanUp(): void {
  for (const loop of [...loops]) detachLoop(loop);
  for (const mount of mounts.splice(0)) execFileSync('umount', ['--lazy', mount], { stdio: 'ignore' });
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
}

/** A new folder below the system's temporary one, or below `parent`. */
export function scratchFolder(parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'diskdump-driver-'));
  folders.push(folder);
  return folder;
}

/** A sparse file of `size` bytes. */
export function sparseFile(size: number, folder = scratchFolder(), name = 'device'): string {
  const path = join(folder, name);
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  closeSync(fd);
  return path;
}

/** Path of a loop device over `file`, or `undefined` where there can be none (no root, no loop driver). */
export function attachLoop(file: string, options: readonly string[] = []): string | undefined {
  try {
    const path = execFileSync('losetup', ['--find', '--show', ...options, file], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
    loops.push(path);
    return path;
  } catch {
    return undefined;
  }
}

/** Takes a loop device down. */
export function detachLoop(path: string): void {
  const index = loops.indexOf(path);
  if (index < 0) return;
  loops.splice(index, 1);
  try {
    execFileSync('losetup', ['--detach', path], { stdio: 'ignore' });
  } catch {
    // It went with its file.
  }
}

/** True where loop devices can be made: root on a kernel with the loop driver. */
export function hasLoop(): boolean {
  const loop = attachLoop(sparseFile(2 ** 20));
  if (loop === undefined) return false;
  detachLoop(loop);
  return true;
}

/** A tmpfs of `size` bytes, mounted for this test process. Needs root, as loop devices do. */
export function smallTmpfs(size: number): string {
  const folder = scratchFolder();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'diskdump-test', folder]);
  mounts.push(folder);
  return folder;
}

/** Asserts that `call` throws a {@link DeviceError} whose failure has these fields. */
export function failsWith(call: () => unknown, expected: Partial<DeviceFailure>): DeviceError {
  try {
    call();
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    for (const [key, value] of Object.entries(expected))
      assert.equal(error.failure[key as keyof DeviceFailure], value, `${key} of: ${error.message}`);
    return error;
  }
  assert.fail(`no error, expected ${JSON.stringify(expected)}`);
}
