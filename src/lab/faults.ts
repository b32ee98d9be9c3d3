/** What goes wrong in the capture kernel on purpose: faults that a script inside it makes, and disks that fail from outside. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnsupportedError } from '../base/errors.ts';
import { findProgram } from './programs.ts';
import type { GuestDisk } from './qemu.ts';

/** Bytes that stage 1 has written when a fault strikes: in the middle of the dump. */
const STRIKE_SECTORS = (24 * 2 ** 20) / 512;

/** Shell that waits until stage 1 has written that much to a disk; runs beside PID 1, with its programs. */
function waitForDump(serial: string): string {
  return `
  lab_sectors() {
    for block in /sys/block/vd*; do
      name=
      read -r name < "$block/serial"
      [ "$name" = ${serial} ] || continue
      read -r reads merged sectors_read ms writes merged2 sectors rest < "$block/stat"
      echo "$sectors"
    done
  }
  while :; do
    sleep 0.1
    [ -s /run/diskdump/pid ] || continue
    written=$(lab_sectors)
    [ "\${written:-0}" -ge ${STRIKE_SECTORS} ] && break
  done
  read -r victim < /run/diskdump/pid`;
}

/** Stage 1 is killed by a signal in mid-dump, once. */
export function killedScript(serial: string): string {
  return `${waitForDump(serial)}
  echo "lab: fault: kill -9 $victim"
  kill -9 "$victim"
`;
}

/** Stage 1 stops for good in mid-dump: alive, but silent. */
export function stoppedScript(serial: string): string {
  return `${waitForDump(serial)}
  echo "lab: fault: kill -STOP $victim"
  kill -STOP "$victim"
`;
}

/** Something else takes all memory in mid-dump, until the kernel has killed stage 1; then it lets go. */
export function outOfMemoryScript(serial: string): string {
  return `${waitForDump(serial)}
  echo 'lab: fault: eating all memory'
  mkdir /tmp/eat
  mount -t tmpfs -o size=1g tmpfs /tmp/eat
  echo > /tmp/eat/pages
  dd if=/dev/zero of=/tmp/eat/pages bs=64k 2> /dev/null &
  eater=$!
  while [ -d "/proc/$victim" ] && [ -d "/proc/$eater" ]; do sleep 0.2; done
  kill -9 $eater
  : > /tmp/eat/pages
  echo 'lab: fault: memory is free again'
`;
}

/** Tells the host that the dump is under way. */
export function signalHostScript(serial: string): string {
  return `${waitForDump(serial)}
  echo 'lab: fault: host, strike now'
`;
}

/** A disk image on which one sector answers EIO to every write. @param offset in bytes. */
export function badSectorDisk(path: string, offset: number): GuestDisk['source'] {
  const sector = Math.floor(offset / 512);
  const inject = [{ event: 'none', iotype: 'write', errno: 5, sector, once: false }];
  return {
    blockdev: {
      driver: 'raw',
      file: { driver: 'blkdebug', image: { driver: 'file', filename: path, locking: 'off' }, 'inject-error': inject },
    },
  };
}

/** A disk behind a server of its own, which can be stopped: then every call to the disk hangs in the guest's kernel. */
export class StoppableDisk {
  readonly source: GuestDisk['source'];
  readonly #server: ChildProcess;

  private constructor(server: ChildProcess, socket: string) {
    this.#server = server;
    this.source = { blockdev: { driver: 'raw', file: { driver: 'nbd', server: { type: 'unix', path: socket } } } };
  }

  /** Serves an image file over a socket in the file's folder. */
  static async start(path: string): Promise<StoppableDisk> {
    const program = findProgram('nbdkit');
    if (program === undefined) {
      throw new UnsupportedError('LAB_PACKAGES_MISSING', 'serving a disk: no nbdkit', {}, 'apt-get install nbdkit');
    }
    const socket = `${path}.sock`;
    const server = spawn(program, ['--foreground', '--unix', socket, 'file', path], { stdio: 'ignore' });
    for (let tries = 0; tries < 100 && !existsSync(socket); tries++) await sleep(50);
    return new StoppableDisk(server, socket);
  }

  /** From now on the disk answers nothing. */
  stop(): void {
    this.#server.kill('SIGSTOP');
  }

  /** What is in flight is answered, late. */
  resume(): void {
    this.#server.kill('SIGCONT');
  }

  /** Ends the server. */
  async end(): Promise<void> {
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return;
    const ended = new Promise((done) => this.#server.once('exit', done));
    this.#server.kill('SIGCONT');
    this.#server.kill('SIGKILL');
    await ended;
  }
}
