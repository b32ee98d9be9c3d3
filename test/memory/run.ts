/** One step of the memory test, in a process of its own with the flags of the capture kernel: prints its high-water mark. */

import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

/** What a step prints, as one line of JSON. */
export interface StepReport {
  /** VmHWM of the process. */
  readonly peakKiB: number;
  readonly value: Readonly<Record<string, unknown>>;
}

/** A step gets the directory of the comparing device's files, and the device's size in bytes. */
export type Step = (directory: string, size: number) => Record<string, unknown>;

const STEPS: Readonly<Record<string, () => Promise<{ readonly step: Step }>>> = {
  capture: () => import('./step-capture.ts'),
  generations: () => import('./step-generations.ts'),
  info: () => import('./step-info.ts'),
  check: () => import('./step-check.ts'),
  save: () => import('./step-save.ts'),
};

/** What stage 1 does first: the optimizing compiler takes 6 MB and gains little. */
const STAGE1_FLAG = '--no-opt';

const [name = '', directory = '', size = '0'] = process.argv.slice(2);
if (name === 'capture') setFlagsFromString(STAGE1_FLAG);
const value = (await STEPS[name]?.())?.step(directory, Number(size)) ?? {};
const peak = /VmHWM:\s*(\d+) kB/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
process.stdout.write(`${JSON.stringify({ peakKiB: Number(peak), value } satisfies StepReport)}\n`);
