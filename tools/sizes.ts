/** Budgets of what is built. A bundle that grows past its budget fails the check; raising it is a decision with a reason. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BuildRecord, ROOT } from './build.ts';

/**
 * Bytes that a bundle loads before its first line runs. Stage 1 is what the capture kernel reads into its small memory;
 * the command line's is all that `diskdump --help` reads.
 */
export const BUDGETS: Readonly<Record<string, number>> = {
  'stage1/main.mjs': 200_000,
  'stage1/device-thread.mjs': 60_000,
  'cli/main.mjs': 24_000,
};

/** Compares the current build with {@link BUDGETS}. */
export function checkSizes(): string[] {
  const { bundles } = JSON.parse(readFileSync(join(ROOT, 'dist', 'build.json'), 'utf8')) as BuildRecord;
  return Object.entries(BUDGETS).flatMap(([path, budget]) => {
    const size = bundles[path]?.startup;
    if (size === undefined) return [`dist/${path} was not built`];
    return size > budget ? [`dist/${path} loads ${size} bytes at start, its budget is ${budget}`] : [];
  });
}
