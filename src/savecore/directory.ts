/** Names of crash directories, and which of them already hold a given dump. */

import type { SaveStore } from './store.ts';

/** What `info.json` must hold for a directory to count as a whole save of a dump. */
export interface SavedMark {
  readonly dumpUuid: string;
  readonly whole: boolean;
  /** The parts in it; a part that turns up later is saved for itself. */
  readonly parts: readonly SavedPart[];
}

/** One file of a saved dump. */
export interface SavedPart {
  readonly part: number;
  readonly file: string;
  readonly bytes: number;
  /** Pages in it, and pages of the device that could not be proved and are not; 0 for a log. */
  readonly pages: number;
  readonly struckPages: number;
}

/** Crash directories of one host, as netdump and diskdump named them: no client of netdump can be 127.0.0.1. */
const HOST = '127.0.0.1';
/** Directories looked at in search of a dump; a store with more is not ours. */
const DIRECTORIES_MAX = 100_000;
const SUFFIX_MAX = 10_000;

/**
 * `127.0.0.1-YYYY-MM-DD-HH:MM:SS` in local time, as kdump's.
 *
 * @param seconds since 1970
 */
export function formatCrashDirectory(seconds: number): string {
  const date = new Date(seconds * 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${HOST}-${day}-${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A free name for a new directory: `base`, else `base.2`, `base.3` … */
export function chooseDirectory(store: SaveStore, base: string): string {
  const taken = new Set(store.list(''));
  if (!taken.has(base)) return base;
  for (let n = 2; n < SUFFIX_MAX; n++) {
    if (!taken.has(`${base}.${n}`)) return `${base}.${n}`;
  }
  return `${base}.${SUFFIX_MAX}`;
}

/** Where parts of an unfinished save lie until they are renamed; one for each dump, so that a new try replaces an old one. */
export function unfinishedDirectory(dumpUuid: string): string {
  return `incomplete-${dumpUuid}`;
}

/** The first of {@link walkSavedDirectories}. */
export function findSavedDirectory(store: SaveStore, dumpUuid: string, parts: readonly number[]): string | undefined {
  for (const { name } of walkSavedDirectories(store, dumpUuid, parts)) return name;
  return undefined;
}

/** The directories that hold a whole save of these parts of a dump, their files as long as they were written. */
export function* walkSavedDirectories(
  store: SaveStore,
  dumpUuid: string,
  parts: readonly number[],
): Generator<{ readonly name: string; readonly parts: readonly SavedPart[] }> {
  for (const name of store.list('').sort().slice(-DIRECTORIES_MAX)) {
    if (!name.startsWith(`${HOST}-`)) continue;
    const mark = readSavedMark(store, name);
    if (!mark?.whole || mark.dumpUuid !== dumpUuid) continue;
    const holds = (part: number): boolean =>
      mark.parts.some((saved) => saved.part === part && store.fileSize(`${name}/${saved.file}`) === saved.bytes);
    if (parts.every(holds)) yield { name, parts: mark.parts };
  }
}

/** What a directory's `info.json` says of itself; `undefined` when it is no save of ours. */
export function readSavedMark(store: SaveStore, directory: string): SavedMark | undefined {
  const info = readInfo(store, directory);
  if (!info || typeof info.dumpUuid !== 'string') return undefined;
  return { dumpUuid: info.dumpUuid, whole: info.whole === true, parts: parseParts(info.parts) };
}

/** Parts whose names are plain; anything else in `info.json` was not written by us. */
function parseParts(value: unknown): SavedMark['parts'] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    const { file, part, bytes, pages = 0, struckPages = 0 } = (entry ?? {}) as Record<string, unknown>;
    const plain = typeof file === 'string' && /^[\w.-]+$/.test(file);
    const numbers = { part, bytes, pages, struckPages };
    const counted = Object.values(numbers).every(Number.isSafeInteger);
    return plain && counted ? [{ file, ...(numbers as Omit<SavedPart, 'file'>) }] : [];
  });
}

/** The `info.json` of a directory as an object, or `undefined` when there is none or it does not parse. */
export function readInfo(store: SaveStore, directory: string): Record<string, unknown> | undefined {
  const bytes = store.readSmall(`${directory}/info.json`);
  if (!bytes) return undefined;
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
