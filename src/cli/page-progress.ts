/** The line of progress of a verb that goes through every page of a dump. */

import { FormatError } from '../base/errors.ts';
import type { Vmcore } from '../format/vmcore.ts';
import type { Io } from './output.ts';
import type { Progress } from './progress.ts';

/**
 * Begins the line. Its total is what the dump gives, not how far its memory reaches: a dump of 96 MiB may end at 4 GiB.
 * Counting costs one pass over the page table, so only where somebody sees the line.
 */
export function startPageProgress(dump: Vmcore, io: Io): Progress {
  const pages = io.showsProgress ? countGiven(dump) : undefined;
  return io.progress({
    label: 'reading pages',
    unit: 'bytes',
    ...(pages !== undefined && { total: pages * dump.pageSize }),
  });
}

/** Zero pages included; `undefined` where the table is damaged, which the verb itself will say. */
function countGiven(dump: Vmcore): number | undefined {
  try {
    return dump.countPages().stored;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
