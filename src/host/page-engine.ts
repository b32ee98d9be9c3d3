/**
 * One zlib or zstd stream of Node, reset after each page instead of made anew.
 *
 * Node's synchronous calls make a stream, a result buffer and a promise to the garbage collector for every page: 58 µs to deflate
 * one, 46 µs to compress one with zstd, and 30 MB of garbage with a small heap. Its stream objects can do the same into
 * a buffer of ours (20 µs with zstd, 11 MB in all) through their native handle, as npm's own `minizlib` does. The handle
 * is no public interface, so it is looked at with suspicion: {@link openEngine} tries it on a page and returns `undefined`
 * where anything is not as expected, and the caller stays with the public calls.
 */

/** What a stream object keeps inside. Source: node 26 `lib/zlib.js` and `src/node_zlib.cc`, `CompressionStream`. */
interface NativeHandle {
  writeSync(
    flush: number,
    input: Uint8Array,
    inputOffset: number,
    inputLength: number,
    output: Uint8Array,
    outputOffset: number,
    outputLength: number,
  ): void;
  reset(): void;
  onerror: (message: string, errno: number, code: string) => void;
}

/** A stream that turns one block of bytes into another, at a time. */
export interface PageEngine {
  /**
   * Runs all of `input` through the stream and stores what comes out.
   *
   * @returns bytes stored, `output.length` where the rest may not have fitted; a text where the stream refused the input.
   */
  run(input: Uint8Array, output: Uint8Array): number | string;
}

/**
 * An engine over a stream object of `node:zlib`.
 *
 * @param stream as `createDeflate()` and its kin return.
 * @param flush the flag that ends a stream: `Z_FINISH`, `ZSTD_e_end`.
 * @param trial input for a first run, and what must come out; checked twice, so that a reset is seen to work.
 */
export function openEngine(
  stream: object,
  flush: number,
  trial: { readonly input: Uint8Array; readonly expected: Uint8Array },
): PageEngine | undefined {
  const handle: unknown = Reflect.get(stream, '_handle');
  const state: unknown = Reflect.get(stream, '_writeState');
  if (!isNativeHandle(handle) || !(state instanceof Uint32Array) || state.length < 2) return undefined;
  const engine = makeEngine(handle, state, flush);
  for (let round = 0; round < 2; round++) {
    const output = new Uint8Array(trial.expected.length + 1);
    if (!tryRun(engine, trial.input, output, trial.expected)) return undefined;
  }
  return engine;
}

function makeEngine(handle: NativeHandle, state: Uint32Array, flush: number): PageEngine {
  let problem: string | undefined;
  handle.onerror = (message) => {
    problem = message;
  };
  return {
    run(input, output) {
      problem = undefined;
      handle.writeSync(flush, input, 0, input.length, output, 0, output.length);
      const left = state[0]!;
      handle.reset();
      return problem ?? output.length - left;
    },
  };
}

function tryRun(engine: PageEngine, input: Uint8Array, output: Uint8Array, expected: Uint8Array): boolean {
  try {
    const length = engine.run(input, output);
    return length === expected.length && expected.every((byte, i) => output[i] === byte);
  } catch {
    return false;
  }
}

function isNativeHandle(handle: unknown): handle is NativeHandle {
  if (typeof handle !== 'object' || handle === null) return false;
  return typeof Reflect.get(handle, 'writeSync') === 'function' && typeof Reflect.get(handle, 'reset') === 'function';
}
