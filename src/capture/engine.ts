/** The engine of stage 1: sweeps the planned pages, pass by pass, from a machine into a log writer. */

import type { Crc32 } from '../base/crc32.ts';
import { DumpError } from '../base/errors.ts';
import type { PageCodec } from '../codec/codec.ts';
import { type KernelBinaries, openPageKernels, type PageKernels } from '../codec/page-kernels.ts';
import type { GenerationKind } from '../format/kdump/log-parameters.ts';
import type { LogWriter } from '../format/kdump/log-writer.ts';
import type { PlacedPage } from '../format/kdump/log-writer-chunk.ts';
import type { Machine } from './machine.ts';
import { type CapturePlan, countBelow, type PlannedPass, WindowWalker } from './plan.ts';
import type { RunLog } from './run-log.ts';
import type { CaptureProgress, Supervisor } from './supervisor.ts';

/** Bytes read from the machine at once: reads of 256 KiB cost no more per byte than larger ones, and stay in the cache. */
export const WINDOW_BYTES = 2 ** 18;

/** Words looked at before a page is taken for one that may be zero. */
const PROBE_WORDS = 8;

export interface EngineOptions {
  readonly machine: Machine;
  readonly plan: CapturePlan;
  readonly writer: LogWriter;
  readonly supervisor: Supervisor;
  readonly log: RunLog;
  readonly crc: Crc32;
  /** For the zero test; in TypeScript where absent. */
  readonly kernels?: KernelBinaries;
  /** Pages are stored raw where it is absent or where a page does not shrink. */
  readonly codec?: PageCodec;
  readonly progress: CaptureProgress;
  readonly windowBytes?: number;
  /** For each pass the pfn from which on pages are still to be stored; all of them where absent. */
  readonly from?: readonly number[];
  /** Lets the device's driver use the time. */
  readonly poll?: () => void;
}

/** Thrown inside the engine to leave all loops: the dump closes as a partial. */
class EndEarly {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/**
 * One capture to one device. The constructor reserves; {@link run} writes.
 *
 * Pages are read to where they will lie in the chunk, in the device's own memory where it lends some. Per page of the loop:
 * zero test, checksum, codec; no copy of a raw page, no allocation. Per chunk: one transfer, one call of the supervisor.
 */
export class CaptureEngine {
  readonly #options: EngineOptions;
  readonly #pageSize: number;
  /** The zero test, over one page. */
  readonly #kernels: PageKernels;
  /** 1 where the page of the window could not be read. */
  readonly #bad: Uint8Array;
  readonly #zeroChecksum: number;
  #open = false;
  #pass = 0;
  /** Pages of the plan neither stored nor given up yet. */
  #left: number;

  constructor(options: EngineOptions) {
    const { machine, plan, crc, kernels = {}, windowBytes = WINDOW_BYTES } = options;
    this.#options = options;
    this.#pageSize = machine.pageSize;
    const count = Math.max(1, Math.floor(windowBytes / machine.pageSize));
    this.#kernels = openPageKernels(kernels, { pageSize: machine.pageSize, pagesMax: 1 });
    this.#bad = new Uint8Array(count);
    this.#zeroChecksum = crc(new Uint8Array(machine.pageSize));
    const { from = [] } = options;
    this.#left = plan.passes.reduce((sum, pass, i) => sum + pass.pages - countBelow(pass.ranges, from[i] ?? 0), 0);
  }

  /**
   * Stores what is planned and closes with a generation, flushed, which block 0 names.
   *
   * @returns true when every planned page is stored; else `log.reason` says why not.
   * @throws DeviceError when the dump device fails.
   */
  run(): boolean {
    const { plan, log } = this.#options;
    try {
      plan.passes.forEach((pass, index) => {
        this.#runPass(pass, index);
      });
    } catch (error) {
      if (!(error instanceof EndEarly)) throw error;
      log.reason = error.reason;
      log.event(`ended early: ${error.reason}`);
    }
    return this.#close();
  }

  #runPass(pass: PlannedPass, index: number): void {
    const { plan, writer, log, progress, from } = this.#options;
    this.#pass = index;
    progress.pass = pass.name;
    progress.phase = 'writing';
    writer.openPass(index);
    const walker = new WindowWalker(pass.ranges, this.#bad.length, from?.[index] ?? 0);
    while (walker.next()) this.#storeWindow(walker.start, walker.count);
    this.#endChunk();
    writer.closePass();
    log.event(`pass ${pass.name} done: ${writer.passes[index]?.stored} of ${pass.pages} pages`);
    if (index === plan.passes.length - 1 || !writer.hasNews) return;
    if (!writer.hasRoomForGeneration()) throw new EndEarly('the device is full');
    this.#writeGeneration('interim');
  }

  #storeWindow(start: number, count: number): void {
    for (let done = 0; done < count; ) {
      const pages = this.#makeRoom(count - done);
      this.#storePages(start + done, pages);
      done += pages;
    }
  }

  /** Stores pages that the open chunk has room for. */
  #storePages(start: number, count: number): void {
    const { writer, crc, codec } = this.#options;
    this.#bad.fill(0, 0, count);
    this.#readPages(writer.space(count), start, 0, count);
    for (let n = 0; n < count; n++) {
      this.#left--;
      if (this.#bad[n] === 1) continue;
      const pfn = start + n;
      const page = writer.placed(n);
      if (this.#isZero(page)) {
        writer.addZero(pfn, this.#zeroChecksum);
        continue;
      }
      const checksum = crc(page.bytes);
      const length = codec ? codec.compress(page.bytes, writer.scratch) : 0;
      if (codec && length > 0) writer.addCompressed(pfn, length, checksum, codec.flag);
      else writer.addRaw(pfn, n, checksum);
    }
  }

  /** Most pages that hold something show it in their first words; the others go to the kernel, which looks at all of it. */
  #isZero({ bytes, words }: PlacedPage): boolean {
    for (let i = 0; i < PROBE_WORDS; i++) if (words[i] !== 0) return false;
    this.#kernels.pages.set(bytes);
    return this.#kernels.findZeros(1) === 1;
  }

  /** Reads pages into the space; what can't be read is halved down to the page, and a bad page is a hole. */
  #readPages(space: Uint8Array, start: number, first: number, count: number): void {
    try {
      const at = first * this.#pageSize;
      this.#options.machine.read(start + first, space.subarray(at, at + count * this.#pageSize));
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      if (count === 1) {
        this.#bad[first] = 1;
        this.#options.log.holes.add(start + first, 1, error.code);
        (this.#options.writer.passes[this.#pass] as { holes: number }).holes++;
        return;
      }
      const half = count >>> 1;
      this.#readPages(space, start, first, half);
      this.#readPages(space, start, first + half, count - half);
    }
  }

  /** Sees to it that a chunk is open with room for pages. @returns how many, from 1 to `most`. */
  #makeRoom(most: number): number {
    const { writer } = this.#options;
    const room = this.#open ? writer.roomFor(most) : 0;
    if (room > 0) return room;
    this.#endChunk();
    this.#open = writer.openChunk(this.#left);
    const pages = this.#open ? writer.roomFor(most) : 0;
    if (pages === 0) throw new EndEarly('the device is full');
    return pages;
  }

  /** Writes the open chunk and what is due after it, then serves progress, watchdog and cancel. */
  #endChunk(): void {
    if (!this.#open) return;
    this.#open = false;
    const { writer, supervisor, poll } = this.#options;
    if (writer.closeChunk()) {
      writer.closeIndex();
      // Never inside pass 0: block 0 leads other tools to a whole pass 0, or nowhere.
      if (this.#pass > 0 && writer.affordsGeneration() && writer.hasRoomForGeneration())
        this.#writeGeneration('interim');
    }
    poll?.();
    this.#report();
    const cancel = supervisor.cancelled();
    if (cancel !== undefined) throw new EndEarly(cancel);
  }

  #report(): void {
    const { writer, supervisor, progress, log } = this.#options;
    progress.storedPages = writer.stored;
    progress.holePages = log.holes.pages;
    progress.bytes = writer.end;
    supervisor.progress(progress);
  }

  #close(): boolean {
    const { writer, plan, log } = this.#options;
    this.#open = false;
    writer.closeChunk();
    writer.closeIndex();
    const last = writer.stored === plan.planned;
    if (last) log.reason = undefined;
    else log.reason ??= `${plan.planned - writer.stored} of ${plan.planned} planned pages could not be read`;
    if (last || writer.hasNews) this.#writeGeneration(last ? 'last' : 'ended');
    this.#options.progress.phase = 'done';
    this.#report();
    return last;
  }

  #writeGeneration(kind: GenerationKind): void {
    const { writer, log, progress } = this.#options;
    const { phase } = progress;
    progress.phase = 'table';
    log.event(`page table of ${writer.stored} pages${kind === 'interim' ? '' : `, ${kind}`}`);
    writer.writeGeneration(kind, (maxBytes) => log.encode(writer.passes, maxBytes));
    progress.phase = phase;
    this.#report();
  }
}
