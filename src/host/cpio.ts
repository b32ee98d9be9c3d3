/** Writes cpio archives in the "newc" form, which is what a Linux kernel unpacks as its initramfs. */

import { UsageError } from '../base/errors.ts';

/** One member. Paths are relative, without a leading slash or `./`; parents come before what they hold. */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'file'; readonly path: string; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'device';
      readonly path: string;
      readonly type: 'character' | 'block';
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

/**
 * Header of a member: thirteen fields of eight upper-case hex digits after the magic.
 * Source: Linux 6.12 `Documentation/driver-api/early-userspace/buffer-format.rst`, `init/initramfs.c`.
 */
const MAGIC = '070701';
const HEADER_SIZE = 110;
const TRAILER = 'TRAILER!!!';
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
/** A size field is 32 bits wide. */
const FILE_MAX = 2 ** 32 - 1;

/**
 * The archive as a list of byte runs to be written one after the other. File contents are passed through, not copied.
 *
 * The result depends on the entries alone: owner 0, times 0, inode numbers counted from 1. It ends on a multiple of
 * four bytes, so that another archive may follow it.
 *
 * @throws UsageError `CPIO_ENTRY` when a path is absolute, a parent is missing, or a file passes 4 GiB.
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array[] {
  const runs: Uint8Array[] = [];
  const directories = new Set<string>();
  let inode = 0;
  for (const entry of entries) {
    checkEntry(entry, directories);
    const body = entryBody(entry);
    runs.push(header(entry, ++inode, body.length));
    if (body.length > 0) runs.push(body);
    if (body.length % 4 !== 0) runs.push(new Uint8Array(4 - (body.length % 4)));
    if (entry.kind === 'directory') directories.add(entry.path);
  }
  runs.push(headerBytes({ path: TRAILER, inode: 0, mode: 0, links: 1, size: 0, major: 0, minor: 0 }));
  return runs;
}

/** The directories that must stand before `paths`, parents first, each once. */
export function parentDirectories(paths: Iterable<string>): CpioEntry[] {
  const found = new Set<string>();
  for (const path of paths) {
    const parts = path.split('/');
    for (let n = 1; n < parts.length; n++) found.add(parts.slice(0, n).join('/'));
  }
  return [...found].sort().map((path) => ({ kind: 'directory', path }));
}

function checkEntry(entry: CpioEntry, directories: ReadonlySet<string>): void {
  const parent = entry.path.includes('/') ? entry.path.slice(0, entry.path.lastIndexOf('/')) : undefined;
  const fault =
    entry.path === '' || entry.path.startsWith('/') || entry.path.startsWith('./')
      ? 'its path is not relative to the root'
      : parent !== undefined && !directories.has(parent)
        ? `its directory ${parent} does not come before it`
        : entry.kind === 'file' && entry.bytes.length > FILE_MAX
          ? `it has ${entry.bytes.length} bytes, the format takes ${FILE_MAX}`
          : undefined;
  if (fault) throw new UsageError('CPIO_ENTRY', `packing ${entry.path}: ${fault}`, { path: entry.path });
}

function entryBody(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'file') return entry.bytes;
  return entry.kind === 'link' ? new TextEncoder().encode(entry.target) : new Uint8Array(0);
}

function header(entry: CpioEntry, inode: number, size: number): Uint8Array {
  const device = entry.kind === 'device' ? entry : undefined;
  return headerBytes({
    path: entry.path,
    inode,
    mode: fileMode(entry),
    links: entry.kind === 'directory' ? 2 : 1,
    size,
    major: device?.major ?? 0,
    minor: device?.minor ?? 0,
  });
}

function fileMode(entry: CpioEntry): number {
  switch (entry.kind) {
    case 'directory':
      return S_IFDIR | (entry.mode ?? 0o755);
    case 'file':
      return S_IFREG | (entry.mode ?? 0o644);
    case 'link':
      return S_IFLNK | 0o777;
    case 'device':
      return (entry.type === 'block' ? S_IFBLK : S_IFCHR) | (entry.mode ?? 0o600);
  }
}

interface HeaderFields {
  readonly path: string;
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly major: number;
  readonly minor: number;
}

/** Header, name with its NUL, padding to four bytes. */
function headerBytes(fields: HeaderFields): Uint8Array {
  const name = new TextEncoder().encode(`${fields.path}\0`);
  const numbers = [
    fields.inode,
    fields.mode,
    0, // uid
    0, // gid
    fields.links,
    0, // mtime
    fields.size,
    0, // device, major and minor
    0,
    fields.major,
    fields.minor,
    name.length,
    0, // checksum, unused in this form
  ];
  const text = MAGIC + numbers.map((value) => value.toString(16).toUpperCase().padStart(8, '0')).join('');
  const bytes = new Uint8Array(Math.ceil((HEADER_SIZE + name.length) / 4) * 4);
  bytes.set(new TextEncoder().encode(text));
  bytes.set(name, HEADER_SIZE);
  return bytes;
}
