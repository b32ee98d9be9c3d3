/** Stage 2 as the operator sees it: its steps with their progress, and ears open between them. */

import type { SaveStep } from '../savecore/options.ts';
import type { SaveOutcome } from '../savecore/save.ts';
import type { Interrupt } from './interrupt.ts';
import type { Io } from './output.ts';
import type { Progress } from './progress.ts';

/** Runs stage 2 to its end; while pages are copied, signals are heard between two steps. */
export async function runSteps(
  steps: Generator<SaveStep, SaveOutcome>,
  interrupt: Interrupt,
  show: StepProgress,
): Promise<SaveOutcome> {
  for (;;) {
    const next = steps.next();
    if (next.done) {
      show.end();
      return next.value;
    }
    show.step(next.value);
    await interrupt.hear();
    // The other steps go on for long without a pause: there a signal ends the process at once, as it does by default.
    const pauses = next.value.step === 'copy' || next.value.step === 'verify';
    if (!pauses && interrupt.signal === undefined) interrupt.ignore();
  }
}

/** One line of progress for each step of each device: how much of how much, and how long still. */
export class StepProgress {
  readonly #io: Io;
  #progress: Progress | undefined;
  #of = '';
  #served = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  step(now: SaveStep): void {
    const of = `${now.step} ${now.device}`;
    if (this.#of !== of) {
      const label = `${STEP_WORDS[now.step]} ${now.device}`;
      const pages = 'totalPages' in now;
      this.#progress = this.#io.progress(
        pages ? { label, unit: 'bytes', total: now.totalPages * now.pageSize } : { label, unit: 'blocks' },
      );
      this.#of = of;
      this.#served = 0;
    }
    if ('donePages' in now) this.#progress?.update(now.donePages * now.pageSize);
  }

  served(): void {
    this.#progress?.update(++this.#served);
  }

  end(): void {
    this.#progress?.stop();
  }
}

const STEP_WORDS: Readonly<Record<SaveStep['step'], string>> = {
  look: 'looking at',
  copy: 'saving',
  verify: 'verifying the copy of',
  format: 'formatting',
};
