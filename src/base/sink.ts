/** Where finished files go: the output side of every writer. */

/**
 * A file, a pipe or a buffer.
 *
 * To add one: `write` stores all of `bytes` at `offset` or throws a `DeviceError`; `flush` returns when everything
 * written is on stable storage. A pipe is `forwardOnly`: its offsets never go back, gaps are filled with zeros.
 */
export interface ByteSink {
  readonly name: string;
  readonly forwardOnly: boolean;
  write(bytes: Uint8Array, offset: number): void;
  flush(): void;
}

/** A growing {@link ByteSink} in memory, for tests and small outputs. */
export class MemorySink implements ByteSink {
  readonly name = 'memory';
  readonly forwardOnly = false;
  #bytes = new Uint8Array(4096);
  #length = 0;

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, offset);
    this.#length = Math.max(this.#length, end);
  }

  flush(): void {}

  /** What was written so far; gaps are zeros. Shares memory with the sink until the next write. */
  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
