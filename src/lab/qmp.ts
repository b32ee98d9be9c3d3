/** QEMU's machine protocol: one JSON line a message, answers in order, events between them. */

import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { ProtocolError } from '../base/errors.ts';

/** Something that happened in QEMU: `RESET`, `SHUTDOWN`, `STOP`. */
export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

interface Waiting {
  done(value: unknown): void;
  failed(error: Error): void;
}

const CONNECT_TRIES = 100;
const CONNECT_PAUSE_MS = 50;

/** One connection to a running QEMU. */
export class Qmp {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  readonly #listeners: ((event: QmpEvent) => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on('line', (line) => this.#take(JSON.parse(line)));
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const waiting of this.#waiting.splice(0))
        waiting.failed(new ProtocolError('QMP_CLOSED', 'QEMU closed its QMP socket'));
    });
  }

  /** Connects to QEMU's socket, which may take a moment to appear, and leaves negotiation mode. */
  static async open(path: string): Promise<Qmp> {
    for (let tries = 1; ; tries++) {
      try {
        const qmp = new Qmp(await connect(path));
        await qmp.run('qmp_capabilities');
        return qmp;
      } catch (error) {
        if (tries === CONNECT_TRIES) throw new ProtocolError('QMP_CONNECT', `connecting to ${path}: ${String(error)}`);
        await new Promise((done) => setTimeout(done, CONNECT_PAUSE_MS));
      }
    }
  }

  /** Runs one command. @throws ProtocolError `QMP_ERROR` with QEMU's words. */
  run(execute: string, args?: object): Promise<unknown> {
    return new Promise((done, failed) => {
      this.#waiting.push({ done, failed });
      this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    });
  }

  onEvent(listener: (event: QmpEvent) => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(message: { event?: string; error?: { desc: string }; return?: unknown }): void {
    if (message.event !== undefined) {
      for (const listener of this.#listeners) listener(message as QmpEvent);
    } else if (message.error) {
      this.#waiting.shift()?.failed(new ProtocolError('QMP_ERROR', `QEMU refused: ${message.error.desc}`));
    } else if ('return' in message) {
      this.#waiting.shift()?.done(message.return);
    }
  }
}

function connect(path: string): Promise<Socket> {
  return new Promise((done, failed) => {
    const socket = createConnection(path);
    socket.once('connect', () => done(socket));
    socket.once('error', failed);
  });
}
