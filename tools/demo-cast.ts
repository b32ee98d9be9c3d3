/**
 * Makes docs/demo.svg from a real run.
 *
 *     node tools/demo-cast.ts [RECORDING.json]
 *
 * Without a recording it runs `diskdump demo --record` first and shows it as it goes.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NarratedLine } from '../src/lab/narration.ts';
import { drawTerminal } from '../src/lab/terminal-picture.ts';
import { ROOT } from './build.ts';

const PICTURE = join(ROOT, 'docs/demo.svg');
/** A run of a minute and a half passes in a quarter of a minute. */
const OPTIONS = { title: 'npm run demo', columns: 104, speed: 6 };

/** Runs the demo and gives what it narrated. */
function record(): NarratedLine[] {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-cast-'));
  try {
    const file = join(folder, 'recording.json');
    const { status } = spawnSync(join(ROOT, 'bin/diskdump'), ['demo', '--record', file], { stdio: 'inherit' });
    if (status !== 0) throw new Error(`the demo ended with ${status}, no picture of that`);
    return JSON.parse(readFileSync(file, 'utf8')) as NarratedLine[];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const [recording] = process.argv.slice(2);
const lines = recording === undefined ? record() : (JSON.parse(readFileSync(recording, 'utf8')) as NarratedLine[]);
writeFileSync(PICTURE, drawTerminal(lines, OPTIONS));
process.stderr.write(`written: ${PICTURE}, ${lines.length} lines\n`);
