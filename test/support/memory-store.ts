/**
 * A save directory in memory that can lose power.
 *
 * Fault model: what a file holds is durable after its `flush`; that a file or directory exists under a name is durable after
 * `syncDirectory` of its parent. At a power cut each change that is not durable is kept or lost, by seed; a file that was
 * never flushed keeps a prefix of its bytes. Every operation counts as one step; `cutAtStep` throws {@link PowerCut} instead
 * of doing that step.
 */

import { DeviceError } from '../../src/base/errors.ts';
import { type Random, randomBelow, seededRandom } from '../../src/base/random.ts';
import type { ByteSink } from '../../src/base/sink.ts';
import type { SaveStore } from '../../src/savecore/store.ts';

/** Thrown out of the middle of an operation: the machine is gone. */
export class PowerCut extends Error {}

interface File {
  kind: 'file';
  bytes: Uint8Array;
  length: number;
  durable: Uint8Array | undefined;
}

interface Directory {
  kind: 'directory';
  entries: Map<string, File | Directory>;
  durable: Map<string, File | Directory>;
}

export class MemoryStore implements SaveStore {
  readonly name = 'memory-store';
  #root: Directory = newDirectory();
  readonly #random: Random;
  steps = 0;
  cutAtStep = Number.POSITIVE_INFINITY;
  /** Called before each step; may throw to cut elsewhere in the same run. */
  onStep: (() => void) | undefined;
  capacityBytes = 2 ** 30;
  /** A file of this name comes out of its flush with one bit changed, as a bad medium has it. */
  rots: string | undefined;

  constructor(seed = 1) {
    this.#random = seededRandom(seed);
  }

  list(directory: string): string[] {
    const found = this.#find(directory);
    return found?.kind === 'directory' ? [...found.entries.keys()] : [];
  }

  readSmall(path: string): Uint8Array | undefined {
    const file = this.#find(path);
    return file?.kind === 'file' ? file.bytes.slice(0, file.length) : undefined;
  }

  fileSize(path: string): number | undefined {
    const file = this.#find(path);
    return file?.kind === 'file' ? file.length : undefined;
  }

  freeBytes(): number {
    return this.capacityBytes - usedBytes(this.#root);
  }

  makeDirectory(path: string): void {
    this.#step();
    const { parent, name } = this.#parent(path);
    if (parent.entries.has(name)) throw storeError(path, 'EEXIST');
    parent.entries.set(name, newDirectory());
  }

  create(path: string): ByteSink & { close(): void } {
    this.#step();
    const { parent, name } = this.#parent(path);
    if (parent.entries.has(name)) throw storeError(path, 'EEXIST');
    const file: File = { kind: 'file', bytes: new Uint8Array(65536), length: 0, durable: undefined };
    parent.entries.set(name, file);
    return {
      name: path,
      forwardOnly: false,
      write: (bytes, offset) => {
        this.#step();
        if (bytes.length > this.freeBytes()) throw storeError(path, 'ENOSPC');
        writeFile(file, bytes, offset);
      },
      flush: () => {
        this.#step();
        if (this.rots !== undefined && path.endsWith(`/${this.rots}`)) {
          file.bytes[file.length - 100]! ^= 1;
          this.rots = undefined;
        }
        file.durable = file.bytes.slice(0, file.length);
      },
      close: () => {},
    };
  }

  open(path: string) {
    const file = this.#find(path);
    if (file?.kind !== 'file') throw storeError(path, 'ENOENT');
    return {
      name: path,
      size: file.length,
      readInto(target: Uint8Array, offset: number): number {
        const part = file.bytes.subarray(Math.min(offset, file.length), Math.min(offset + target.length, file.length));
        target.set(part);
        return part.length;
      },
      close: () => {},
    };
  }

  rename(from: string, to: string): void {
    this.#step();
    const source = this.#parent(from);
    const target = this.#parent(to);
    const moved = source.parent.entries.get(source.name);
    if (!moved) throw storeError(from, 'ENOENT');
    if (target.parent.entries.has(target.name)) throw storeError(to, 'EEXIST');
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, moved);
  }

  /** Changes one bit of a file, so many bytes before its end. */
  flipBit(path: string, fromEnd: number): void {
    const file = this.#find(path);
    if (file?.kind === 'file') file.bytes[file.length - fromEnd]! ^= 1;
  }

  /** Somebody else's doing, not a step. */
  removeFile(path: string): void {
    const { parent, name } = this.#parent(path);
    parent.entries.delete(name);
  }

  removeDirectory(path: string): void {
    this.#step();
    const { parent, name } = this.#parent(path);
    parent.entries.delete(name);
  }

  syncDirectory(path: string): void {
    this.#step();
    const directory = this.#find(path);
    if (directory?.kind !== 'directory') throw storeError(path, 'ENOENT');
    directory.durable = new Map(directory.entries);
  }

  /** What is left after a power cut, as the next boot finds it. */
  powerCut(): void {
    this.#root = this.#survivor(this.#root);
    this.cutAtStep = Number.POSITIVE_INFINITY;
  }

  #survivor(directory: Directory): Directory {
    // A rename is one change: it is lost or kept for both names at once.
    const keepNew = randomBelow(this.#random, 2) === 1;
    const entries = new Map<string, File | Directory>();
    for (const [name, entry] of keepNew ? directory.entries : directory.durable) {
      entries.set(name, entry.kind === 'directory' ? this.#survivor(entry) : this.#survivingFile(entry));
    }
    return { kind: 'directory', entries, durable: new Map(entries) };
  }

  #survivingFile(file: File): File {
    const length = file.durable ? file.durable.length : randomBelow(this.#random, file.length + 1);
    const bytes = (file.durable ?? file.bytes).slice(0, length);
    return { kind: 'file', bytes, length, durable: bytes };
  }

  #step(): void {
    this.onStep?.();
    if (++this.steps >= this.cutAtStep) throw new PowerCut(`power cut at step ${this.steps} of the save directory`);
  }

  #find(path: string): File | Directory | undefined {
    let at: File | Directory = this.#root;
    for (const part of path.split('/').filter((piece) => piece !== '')) {
      if (at.kind !== 'directory') return undefined;
      const next = at.entries.get(part);
      if (!next) return undefined;
      at = next;
    }
    return at;
  }

  #parent(path: string): { parent: Directory; name: string } {
    const slash = path.lastIndexOf('/');
    const parent = this.#find(slash < 0 ? '' : path.slice(0, slash));
    if (parent?.kind !== 'directory') throw storeError(path, 'ENOENT');
    return { parent, name: path.slice(slash + 1) };
  }
}

function newDirectory(): Directory {
  return { kind: 'directory', entries: new Map(), durable: new Map() };
}

function writeFile(file: File, bytes: Uint8Array, offset: number): void {
  const end = offset + bytes.length;
  if (end > file.bytes.length) {
    const grown = new Uint8Array(Math.max(end, 2 * file.bytes.length));
    grown.set(file.bytes);
    file.bytes = grown;
  }
  file.bytes.set(bytes, offset);
  file.length = Math.max(file.length, end);
}

function usedBytes(directory: Directory): number {
  let used = 0;
  for (const entry of directory.entries.values()) used += entry.kind === 'file' ? entry.length : usedBytes(entry);
  return used;
}

function storeError(path: string, errno: string): DeviceError {
  return new DeviceError('SAVE_STORE', `${path}: ${errno}`, { device: path, operation: 'write', errno });
}
