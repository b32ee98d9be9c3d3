/** Signals that end a run early: heard between two steps of work that is otherwise synchronous. */

import { setImmediate as turnOfLoop } from 'node:timers/promises';
import { EXIT } from './errors.ts';

/** Signals that ask a run to end. Shells expect 128 and the signal's number as exit code. */
const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;
type Signal = keyof typeof SIGNALS;

/** What a shell sees of a program that such a signal ended. */
export function exitCodeOfSignal(signal: Signal = 'SIGINT'): number {
  return EXIT.interrupted + SIGNALS[signal];
}

/** Whether somebody asked this run to end; for verbs that have something to say then. */
export class Interrupt {
  signal: Signal | undefined;
  #listening = false;
  readonly #note = (signal: NodeJS.Signals): void => {
    this.signal ??= signal as Signal;
  };

  /** Listens from here on, and lets what has come so far arrive. */
  async hear(): Promise<void> {
    if (!this.#listening) for (const signal of Object.keys(SIGNALS)) process.on(signal, this.#note);
    this.#listening = true;
    await turnOfLoop();
  }

  /** Signals have their default effect again. */
  ignore(): void {
    for (const signal of Object.keys(SIGNALS)) process.off(signal, this.#note);
    this.#listening = false;
  }
}
