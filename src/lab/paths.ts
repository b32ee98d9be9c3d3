/** Where the lab keeps what it downloads, builds and records: a cache outside git, and a scratch directory in memory. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AssertionError } from '../base/errors.ts';

/** The checkout that this program runs from: the nearest folder above with our package.json and the lab's sources. */
export function findCheckout(from: string = dirname(fileURLToPath(import.meta.url))): string {
  for (let folder = from; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'src/lab/guest-root/init'))) return folder;
    if (dirname(folder) === folder) break;
  }
  throw new AssertionError('LAB_NO_CHECKOUT', `the lab needs a checkout of diskdump: none found above ${from}`);
}

/** The lab's cache: packages, unpacked kernels, built images. `DISKDUMP_LAB_CACHE` moves it. */
export function labCache(...parts: string[]): string {
  const root = process.env.DISKDUMP_LAB_CACHE ?? join(findCheckout(), '.cache/lab');
  const path = join(root, ...parts);
  mkdirSync(dirname(path), { recursive: true });
  return path;
}

/**
 * A new scratch directory for one guest: its RAM file, its disks, its console.
 * In memory (tmpfs) where there is one, so that a guest's RAM does not wear out a disk.
 */
export function createScratch(label: string): string {
  const base = process.env.DISKDUMP_LAB_SCRATCH ?? (existsSync('/dev/shm') ? '/dev/shm' : '/tmp');
  const path = mkdtempSync(join(base, `diskdump-lab-${label}-`));
  created.add(path);
  return path;
}

const created = new Set<string>();

/** Deletes every scratch directory of this process: they lie in memory, and would stay there until the next boot. */
export function sweepScratch(): void {
  for (const path of created) rmSync(path, { recursive: true, force: true });
}

/** How many files of one kind, made of older sources, stay in the cache. */
const KEPT = 3;

/** Marks a cached file as used now, and deletes all but the last used ones beside it. */
export function keepNewest(used: string): void {
  const folder = dirname(used);
  const now = new Date();
  utimesSync(used, now, now);
  const files = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(folder, entry.name));
  const aged = files.map((path) => ({ path, ms: statSync(path).mtimeMs })).sort((a, b) => b.ms - a.ms);
  for (const { path } of aged.slice(KEPT)) rmSync(path);
}
