/**
 * A place for saved dumps that keeps files of many GiB in little room: each block of a file is packed, as runs of equal
 * words, as soon as the writer has left it. What is read back is what was written, byte for byte; nothing is made up.
 */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { ByteSink } from '../../src/base/sink.ts';
import type { ByteSource } from '../../src/base/source.ts';
import type { SaveStore } from '../../src/savecore/store.ts';

const BLOCK = 2 ** 16;
const WORDS = BLOCK / 4;
/** Blocks of the largest file: 16 GiB. */
const BLOCKS_MAX = 2 ** 18;

export class PackedStore implements SaveStore {
  readonly name = '/packed';
  readonly #files = new Map<string, PackedFile>();
  readonly #directories = new Set<string>();
  readonly #backing: string;

  /** @param backing path of the file that takes the blocks. */
  constructor(backing: string) {
    this.#backing = backing;
  }

  list(directory: string): string[] {
    const prefix = directory === '' ? '' : `${directory}/`;
    const names = [...this.#files.keys(), ...this.#directories].filter((path) => path.startsWith(prefix));
    return [...new Set(names.map((path) => path.slice(prefix.length).split('/')[0] as string))].filter(
      (name) => name !== '',
    );
  }

  readSmall(path: string): Uint8Array | undefined {
    const file = this.#files.get(path);
    if (!file) return undefined;
    const bytes = new Uint8Array(file.size);
    file.readInto(bytes, 0);
    return bytes;
  }

  fileSize(path: string): number | undefined {
    return this.#files.get(path)?.size;
  }

  freeBytes(): number {
    return 2 ** 40;
  }

  makeDirectory(path: string): void {
    this.#directories.add(path);
  }

  create(path: string): ByteSink & { close(): void } {
    if (this.#files.has(path)) throw new Error(`${path} exists`);
    const file = new PackedFile(path, openSync(`${this.#backing}.${this.#files.size}`, 'w+'));
    this.#files.set(path, file);
    return file;
  }

  open(path: string): ByteSource & { close(): void } {
    const file = this.#files.get(path);
    if (!file) throw new Error(`${path} does not exist`);
    return file;
  }

  rename(from: string, to: string): void {
    for (const [path, file] of [...this.#files]) {
      if (!path.startsWith(`${from}/`)) continue;
      this.#files.delete(path);
      this.#files.set(to + path.slice(from.length), file);
    }
    this.#directories.delete(from);
    this.#directories.add(to);
  }

  removeDirectory(path: string): void {
    for (const name of [...this.#files.keys()]) if (name.startsWith(`${path}/`)) this.#files.delete(name);
    this.#directories.delete(path);
  }

  syncDirectory(): void {}

  /** Sizes by path. */
  sizes(): Record<string, number> {
    return Object.fromEntries([...this.#files].map(([path, file]) => [path, file.size]));
  }

  closeAll(): void {
    for (const file of this.#files.values()) closeSync(file.fd);
  }
}

class PackedFile implements ByteSink, ByteSource {
  readonly name: string;
  readonly forwardOnly = false;
  readonly fd: number;
  size = 0;
  /** Of each block: offset in the backing file, and length there (0 = never written). */
  readonly #offsets = new Float64Array(BLOCKS_MAX);
  readonly #lengths = new Uint32Array(BLOCKS_MAX);
  readonly #words = new Uint32Array(WORDS);
  readonly #block = new Uint8Array(this.#words.buffer);
  /** Runs of a packed block: how many words, which word. */
  readonly #runs = new Uint32Array(WORDS);
  readonly #runBytes = new Uint8Array(this.#runs.buffer);
  #current = -1;
  #dirty = false;
  #end = 0;

  constructor(name: string, fd: number) {
    this.name = name;
    this.fd = fd;
  }

  write(bytes: Uint8Array, offset: number): void {
    this.size = Math.max(this.size, offset + bytes.length);
    this.#eachBlock(bytes, offset, (part, at) => {
      this.#block.set(part, at);
      this.#dirty = true;
    });
  }

  readInto(target: Uint8Array, offset: number): number {
    const length = Math.max(0, Math.min(target.length, this.size - offset));
    this.#eachBlock(target.subarray(0, length), offset, (part, at) =>
      part.set(this.#block.subarray(at, at + part.length)),
    );
    return length;
  }

  flush(): void {
    this.#leave();
  }

  close(): void {
    this.#leave();
  }

  #eachBlock(bytes: Uint8Array, offset: number, use: (part: Uint8Array, at: number) => void): void {
    for (let done = 0; done < bytes.length; ) {
      const at = (offset + done) % BLOCK;
      const length = Math.min(bytes.length - done, BLOCK - at);
      this.#enter(Math.floor((offset + done) / BLOCK));
      use(bytes.subarray(done, done + length), at);
      done += length;
    }
  }

  #enter(block: number): void {
    if (block === this.#current) return;
    this.#leave();
    this.#current = block;
    const length = this.#lengths[block] as number;
    if (length === 0) {
      this.#block.fill(0);
      return;
    }
    const raw = length === BLOCK;
    readSync(this.fd, raw ? this.#block : this.#runBytes, 0, length, this.#offsets[block] as number);
    if (!raw) this.#unpack(length / 8);
  }

  #leave(): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    const runs = this.#pack();
    const [bytes, length] = runs === undefined ? [this.#block, BLOCK] : [this.#runBytes, 8 * runs];
    this.#offsets[this.#current] = this.#end;
    this.#lengths[this.#current] = length;
    writeSync(this.fd, bytes, 0, length, this.#end);
    this.#end += length;
  }

  /** The block as runs; `undefined` where they would take as much room. */
  #pack(): number | undefined {
    const words = this.#words;
    let runs = 0;
    for (let at = 0; at < WORDS; runs++) {
      if (2 * runs + 2 >= WORDS) return undefined;
      const start = at;
      const word = words[at++];
      while (at < WORDS && words[at] === word) at++;
      this.#runs[2 * runs] = at - start;
      this.#runs[2 * runs + 1] = word as number;
    }
    return runs;
  }

  #unpack(runs: number): void {
    for (let i = 0, at = 0; i < runs; i++) {
      const count = this.#runs[2 * i] as number;
      this.#words.fill(this.#runs[2 * i + 1] as number, at, at + count);
      at += count;
    }
  }
}
