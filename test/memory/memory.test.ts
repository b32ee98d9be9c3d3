/**
 * A machine of 1 TiB with 2^22 stored pages, captured, proved, saved and checked in processes with the flags of the capture
 * kernel: none may grow by more than its budget over an empty Node with the same flags. Every page and every generation is
 * compared on the way.
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { after, test } from 'node:test';
import { build } from 'esbuild';
import { BIG_ESSENTIAL, STORED_PAGES } from './big-machine.ts';
import type { StepReport } from './run.ts';

const KIB_PER_MIB = 1024;
/** Over an empty Node, in MiB. */
const BUDGET = { capture: 24, other: 40 } as const;
/** Bytes of the device: room for every page and four generations. */
const DEVICE_BYTES = 16 * 2 ** 30;

const ROOT = `${import.meta.dirname}/../..`;
const directory = mkdtempSync(`${tmpdir()}/diskdump-memory-`);
after(() => rmSync(directory, { recursive: true }));

/** The options of Node as PID 1 of the capture kernel gives them. */
const FLAGS =
  /--v8-pool-size.*?(?= \/)/.exec(readFileSync(`${ROOT}/src/host/capture-root/init`, 'latin1'))?.[0].split(' ') ?? [];

/** Type stripping takes memory of its own: the steps run as one bundle each, as everything does in the capture kernel. */
await build({
  entryPoints: [`${ROOT}/test/memory/run.ts`],
  bundle: true,
  splitting: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  outdir: directory,
  outExtension: { '.js': '.mjs' },
  logLevel: 'error',
});

function run(step: string, on = directory): StepReport {
  const args = [...FLAGS, `${directory}/run.mjs`, step, on, String(DEVICE_BYTES)];
  return JSON.parse(
    execFileSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } }),
  );
}

function emptyPeakKiB(): number {
  const script = `${directory}/empty.mjs`;
  writeFileSync(
    script,
    "import { readFileSync } from 'node:fs';\nconsole.log(/VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]);\n",
  );
  return Number(execFileSync(process.execPath, [...FLAGS, script], { encoding: 'utf8' }));
}

const empty = emptyPeakKiB();

function checkBudget(report: StepReport, budgetMiB: number, what: string): void {
  const grown = (report.peakKiB - empty) / KIB_PER_MIB;
  console.log(`${what}: ${grown.toFixed(1)} MiB over an empty Node of ${(empty / KIB_PER_MIB).toFixed(1)} MiB`);
  assert.ok(grown <= budgetMiB, `${what} took ${grown.toFixed(1)} MiB over an empty Node, ${budgetMiB} are allowed`);
}

test('capture', () => {
  assert.ok(FLAGS.length >= 3, 'the flags of the capture kernel were not found');
  const report = run('capture');
  assert.deepEqual(report.value, { outcome: 'complete', pages: STORED_PAGES, compared: STORED_PAGES });
  checkBudget(report, BUDGET.capture, 'capture');
});

test('every generation', () => {
  const pages = run('generations').value.pages as number[];
  assert.ok(pages.length >= 3, `${pages.length} generations`);
  assert.equal(pages[0], STORED_PAGES);
  assert.equal(pages.at(-1), 2 * BIG_ESSENTIAL.length);
});

test('info and check', () => {
  const info = run('info');
  assert.deepEqual(info.value, {
    state: 'complete',
    present: STORED_PAGES,
    stored: STORED_PAGES,
    zero: (STORED_PAGES / 4) * 3,
  });
  checkBudget(info, BUDGET.other, 'info');
  const check = run('check');
  assert.deepEqual(check.value, { state: 'complete', pages: STORED_PAGES });
  checkBudget(check, BUDGET.other, 'check');
});

test('save', () => {
  const report = run('save');
  assert.deepEqual(report.value, { state: 'complete', pages: STORED_PAGES, proved: STORED_PAGES });
  checkBudget(report, BUDGET.other, 'save');
});
