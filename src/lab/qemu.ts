/** One guest: a QEMU process under software emulation, its RAM file, its disks, its serial console, its QMP socket. */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { DumpError, UnsupportedError } from '../base/errors.ts';
import { findProgram } from './programs.ts';
import { Qmp, type QmpEvent } from './qmp.ts';

/** A virtio disk; the guest finds it by its serial number. Disks appear as vda, vdb … in the list's order. */
export interface GuestDisk {
  readonly serial: string;
  /** A raw image, or a `-blockdev` node of the caller's own (fault injection, network disks). */
  readonly source: { readonly path: string; readonly readOnly?: boolean } | { readonly blockdev: object };
}

/** What QEMU is started with. */
export interface GuestPlan {
  /** Folder for the RAM file, console and socket. */
  readonly directory: string;
  readonly vmlinuz: string;
  readonly initrd: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  /** `-cpu`: `max`, `qemu64`. */
  readonly cpuModel: string;
  readonly disks: readonly GuestDisk[];
  /** Sees every console line as it comes. */
  readonly onLine?: (line: ConsoleLine) => void;
}

/** Why a wait ended without what it waited for. */
export class GuestTimeout extends DumpError {}

/** Why a guest stands still. */
export interface RebootRequest {
  /** Milliseconds since the guest was started. */
  readonly atMs: number;
  /** QEMU's word: `guest-reset`, `guest-shutdown`. */
  readonly reason: string;
}

/** Lines of the console with the moment they ended. */
export interface ConsoleLine {
  /** Milliseconds since the guest was started. */
  readonly atMs: number;
  readonly text: string;
}

/** How long QEMU may take to finish what its disks have in flight. */
const STANDSTILL_MS = 30_000;
/** Messages of QEMU itself that are kept for an error. */
const STDERR_MAX = 4000;
/** A console line longer than this is cut. */
const LINE_MAX = 65536;
/** What a guest's own scripts say when they cannot go on; every wait then ends. */
const GUEST_FAILURE = /^lab: failed/;

/** A running guest. `end` is the one way to stop it, and stops only this process. */
export class Guest {
  readonly plan: GuestPlan;
  readonly qmp: Qmp;
  /** Console so far, line by line. */
  readonly lines: ConsoleLine[] = [];
  readonly events: (QmpEvent & { atMs: number })[] = [];
  readonly #process: ChildProcess;
  readonly #startedMs: number;
  #exited = false;
  #failure: string | undefined;
  #seenEvents = 0;
  readonly #watchers = new Set<() => void>();

  private constructor(plan: GuestPlan, child: ChildProcess, qmp: Qmp, started: Started) {
    this.plan = plan;
    this.#process = child;
    this.qmp = qmp;
    this.#startedMs = started.atMs;
    started.deliver = (line) => this.#takeLine(line);
    for (const line of started.early.splice(0)) this.#takeLine(line);
    qmp.onEvent((event) => {
      this.events.push({ ...event, atMs: this.#nowMs() });
      this.#wake();
    });
    child.once('exit', () => {
      this.#exited = true;
      this.#wake();
    });
    if (child.exitCode !== null) this.#exited = true;
  }

  /** The guest's RAM as a file: for up to 2 GiB its offset is the physical address. */
  get ramFile(): string {
    return join(this.plan.directory, 'ram');
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get exited(): boolean {
    return this.#exited;
  }

  /**
   * Starts QEMU. A reboot that the guest asks for pauses it with its memory untouched (see {@link letReboot}), so that
   * the host can look at it before firmware and kernel run over it.
   */
  static async start(plan: GuestPlan): Promise<Guest> {
    const program = findProgram('qemu-system-x86_64');
    if (program === undefined) {
      throw new UnsupportedError(
        'LAB_PACKAGES_MISSING',
        'starting a guest: no qemu-system-x86_64',
        {},
        'apt-get install qemu-system-x86',
      );
    }
    createSparseFile(join(plan.directory, 'ram'), plan.memoryMiB * 2 ** 20);
    const started: Started = { atMs: performance.now(), early: [], deliver: undefined };
    const [first, ...rest] = dyingWithUs([program, ...formatArguments(plan)]);
    const child = spawn(first as string, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
    const errors = collectErrors(child);
    readConsole(child, join(plan.directory, 'console.log'), started);
    const failed = new Promise<never>((_done, fail) => {
      child.once('error', fail);
      child.once('exit', (code) =>
        fail(new UnsupportedError('LAB_QEMU', `starting QEMU: exit ${code}: ${errors.text.trim()}`)),
      );
    });
    const qmp = await Promise.race([Qmp.open(join(plan.directory, 'qmp')), failed]);
    failed.catch(() => {});
    return new Guest(plan, child, qmp, started);
  }

  /**
   * Waits until `found` answers something; it is asked after every console line and event.
   *
   * @throws GuestTimeout when the time is over, or QEMU ended, without an answer.
   */
  waitFor<T>(what: string, timeoutMs: number, found: (guest: Guest) => T | undefined): Promise<T> {
    return new Promise((done, failed) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        act();
      };
      const look = () => {
        const value = found(this);
        if (value !== undefined) settle(() => done(value));
        else if (this.#failure) settle(() => failed(this.#waitError(`waiting for ${what}: the guest gave up`)));
        else if (this.#exited) settle(() => failed(this.#waitError(`waiting for ${what}: QEMU ended`)));
      };
      const timer = setTimeout(
        () =>
          settle(() => failed(this.#waitError(`waiting for ${what}: nothing in ${Math.round(timeoutMs / 1000)} s`))),
        timeoutMs,
      );
      this.#watchers.add(look);
      look();
    });
  }

  /** Waits for a console line from line `from` on; gives its match and the index of the line after it. */
  waitForLine(
    pattern: RegExp,
    timeoutMs: number,
    from = 0,
  ): Promise<{ match: RegExpExecArray; line: ConsoleLine; next: number }> {
    let index = from;
    return this.waitFor(String(pattern), timeoutMs, () => {
      for (; index < this.lines.length; index++) {
        const line = this.lines[index] as ConsoleLine;
        const match = pattern.exec(line.text);
        if (match) return { match, line, next: ++index };
      }
      return undefined;
    });
  }

  /** Waits until the guest has asked for a reboot (or a power-off) and stands still, its memory as the last kernel left it. */
  async waitForReboot(timeoutMs: number): Promise<RebootRequest> {
    const find = (name: string) => this.events.slice(this.#seenEvents).find((event) => event.event === name);
    const event = await this.waitFor('the reboot', timeoutMs, () => find('SHUTDOWN'));
    await this.waitFor('the guest to stand still', STANDSTILL_MS, () => find('STOP'));
    this.#seenEvents = this.events.length;
    return { atMs: event.atMs, reason: String(event.data?.reason ?? 'unknown') };
  }

  /** Resets the paused machine and lets it run; `then` says what its next reboot and its power-off do. */
  async letReboot(then: 'pause' | 'run'): Promise<void> {
    await this.#setActions(then);
    await this.qmp.run('system_reset');
    await this.qmp.run('cont');
  }

  /** Waits for the guest to power itself off. */
  async waitForExit(timeoutMs: number): Promise<void> {
    await this.waitFor('the power-off', timeoutMs, (guest) => (guest.exited ? true : undefined)).catch((error) => {
      if (!this.#exited) throw error;
    });
  }

  /** Kills this guest's QEMU, if it still runs, and waits for it. */
  async end(): Promise<void> {
    this.qmp.close();
    if (this.#exited) return;
    const ended = new Promise((done) => this.#process.once('exit', done));
    this.#process.kill('SIGKILL');
    await ended;
  }

  async #setActions(then: 'pause' | 'run'): Promise<void> {
    const paused = { reboot: 'shutdown', shutdown: 'pause' };
    await this.qmp.run('set-action', then === 'pause' ? paused : { reboot: 'reset', shutdown: 'poweroff' });
  }

  #nowMs(): number {
    return performance.now() - this.#startedMs;
  }

  #takeLine(line: ConsoleLine): void {
    this.lines.push(line);
    if (GUEST_FAILURE.test(line.text)) this.#failure = line.text;
    this.plan.onLine?.(line);
    this.#wake();
  }

  #wake(): void {
    for (const look of [...this.#watchers]) look();
  }

  #waitError(message: string): GuestTimeout {
    const tail = this.lines.slice(-6).map((line) => line.text);
    return new GuestTimeout('LAB_GUEST', `${message}; the console ends: ${tail.join(' | ')}`, {
      console: join(this.plan.directory, 'console.log'),
    });
  }
}

/** A file of zeros that takes no room. */
export function createSparseFile(path: string, size: number): string {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  closeSync(fd);
  return path;
}

interface Started {
  readonly atMs: number;
  /** Lines that came before the guest object was there. */
  readonly early: ConsoleLine[];
  deliver: ((line: ConsoleLine) => void) | undefined;
}

function formatArguments(plan: GuestPlan): string[] {
  const memory = `memory-backend-file,id=ram,size=${plan.memoryMiB}M,mem-path=${join(plan.directory, 'ram')},share=on`;
  return [
    ...['-accel', 'tcg,thread=multi', '-cpu', plan.cpuModel, '-smp', String(plan.cpus), '-m', String(plan.memoryMiB)],
    ...['-object', memory, '-machine', 'pc,memory-backend=ram', '-nodefaults', '-display', 'none'],
    ...['-action', 'reboot=shutdown,shutdown=pause'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-qmp', `unix:${join(plan.directory, 'qmp')},server=on,wait=off`],
    ...['-device', 'i6300esb'],
    ...['-kernel', plan.vmlinuz, '-initrd', plan.initrd, '-append', plan.commandLine],
    ...plan.disks.flatMap(formatDisk),
  ];
}

function formatDisk(disk: GuestDisk, index: number): string[] {
  const node = `disk${index}`;
  const source = disk.source;
  const blockdev =
    'blockdev' in source
      ? { ...source.blockdev, 'node-name': node }
      : {
          'node-name': node,
          driver: 'raw',
          'read-only': source.readOnly ?? false,
          file: { driver: 'file', filename: source.path, locking: 'off' },
        };
  return ['-blockdev', JSON.stringify(blockdev), '-device', `virtio-blk-pci,drive=${node},serial=${disk.serial}`];
}

/** Splits QEMU's stdout into lines, stamps them, and keeps all of it in a file. */
function readConsole(child: ChildProcess, path: string, started: Started): void {
  const fd = openSync(path, 'w');
  let rest = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    writeSync(fd, bytes);
    const parts = (rest + bytes.toString('latin1')).split('\n');
    rest = (parts.pop() as string).slice(-LINE_MAX);
    const atMs = performance.now() - started.atMs;
    for (const part of parts) {
      const line = { atMs, text: part.replaceAll('\r', '').slice(0, LINE_MAX) };
      if (started.deliver) started.deliver(line);
      else started.early.push(line);
    }
  });
  child.stdout?.on('close', () => closeSync(fd));
}

function collectErrors(child: ChildProcess): { text: string } {
  const errors = { text: '' };
  child.stderr?.on('data', (bytes: Buffer) => {
    errors.text = (errors.text + bytes.toString('latin1')).slice(-STDERR_MAX);
  });
  return errors;
}

/** The same command, killed by the kernel when we end, however that comes; as it is where util-linux has no `setpriv`. */
function dyingWithUs(command: readonly string[]): readonly string[] {
  const setpriv = findProgram('setpriv');
  return setpriv === undefined ? command : [setpriv, '--pdeathsig', 'KILL', ...command];
}
