/** Budgets of what is built. A bundle that grows past its budget fails the check; raising it is a decision with a reason. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './build.ts';

/** Bytes. Stage 1 is what the capture kernel reads into its small memory; the overall help reads only the first chunk. */
export const BUDGETS: Readonly<Record<string, number>> = {
  'stage1/main.mjs': 200_000,
  'stage1/device-thread.mjs': 60_000,
  'cli/main.mjs': 40_000,
};

/** Compares the files of the current build with {@link BUDGETS}. */
export function checkSizes(): string[] {
  const { files } = JSON.parse(readFileSync(join(ROOT, 'dist', 'build.json'), 'utf8')) as {
    files: Record<string, number>;
  };
  return Object.entries(BUDGETS).flatMap(([path, budget]) => {
    const size = files[path];
    if (size === undefined) return [`dist/${path} was not built`];
    return size > budget ? [`dist/${path} has ${size} bytes, its budget is ${budget}`] : [];
  });
}
