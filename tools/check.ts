/**
 * Everything that can be said about the sources without running them, then the tests.
 *
 *     node tools/check.ts [--no-tests] [STEP…]
 *
 * Every step runs, whatever the others found; the summary names those that failed.
 */

import { spawnSync } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuilt, ROOT } from './build.ts';
import { checkDocs } from './docs.ts';
import { checkLayers } from './layers.ts';
import { checkRuntime } from './runtime.ts';
import { checkSizes } from './sizes.ts';
import { checkTidy } from './tidy.ts';

/** One step: what it looks at, and the problems it found, a line each. */
interface Step {
  readonly name: string;
  readonly brief: string;
  readonly run: () => readonly string[] | Promise<readonly string[]>;
}

/** What one step may say; fixing the first ones is the way to the rest. */
const LINES_MAX = 60;
const COLUMNS_MAX = 200;

const BIN = join(ROOT, 'node_modules');

const STEPS: readonly Step[] = [
  { name: 'types', brief: 'TypeScript, strict', run: () => tool(join(BIN, 'ts7/bin/tsc'), ['-p', ROOT]) },
  {
    name: 'lint',
    brief: 'format and lint',
    run: () =>
      tool(join(BIN, '@biomejs/biome/bin/biome'), [
        'check',
        '--diagnostic-level=warn',
        '--error-on-warnings',
        'src',
        'test',
        'tools',
        'bench',
        'examples',
        'package.json',
        'biome.json',
        'tsconfig.json',
        'knip.json',
      ]),
  },
  { name: 'layers', brief: 'import table', run: layerProblems },
  {
    name: 'dead',
    brief: 'files, exports and packages that nobody uses',
    run: () => tool(join(BIN, 'knip/bin/knip.js'), []),
  },
  { name: 'tidy', brief: 'rules of the house for single files', run: checkTidy },
  { name: 'docs', brief: 'links, verbs and flags in the documentation', run: checkDocs },
  { name: 'sizes', brief: 'budgets of the bundles', run: checkSizes },
  { name: 'runtime', brief: 'the Node that npm brought is the recorded one', run: checkRuntime },
];

async function main(argv: readonly string[]): Promise<number> {
  const words = argv.filter((word) => !word.startsWith('-'));
  const steps = words.length === 0 ? STEPS : STEPS.filter(({ name }) => words.includes(name));
  await ensureBuilt();
  const failed: string[] = [];
  for (const step of steps) if (!(await runStep(step))) failed.push(step.name);
  count(steps.length, failed.length);
  if (words.length === 0 && !argv.includes('--no-tests') && !runTests()) failed.push('tests');
  console.log(failed.length === 0 ? '\ncheck: all is well' : `\ncheck: failed: ${failed.join(', ')}`);
  return failed.length === 0 ? 0 : 1;
}

async function runStep({ name, brief, run }: Step): Promise<boolean> {
  const started = performance.now();
  const problems = await run();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'}  ${name.padEnd(8)} ${brief} (${seconds} s)`);
  for (const line of problems.slice(0, LINES_MAX)) console.log(`        ${line.slice(0, COLUMNS_MAX)}`);
  if (problems.length > LINES_MAX) console.log(`        and ${problems.length - LINES_MAX} lines more`);
  return problems.length === 0;
}

/** For `.ci/run`, which sums up all runs. */
function count(all: number, failed: number): void {
  const file = process.env.DISKDUMP_TEST_COUNTS;
  if (file === undefined) return;
  appendFileSync(file, `${JSON.stringify({ suite: 'check', passed: all - failed, failed, skipped: 0, seconds: 0 })}\n`);
}

function runTests(): boolean {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'tools', 'test.ts'), 'unit'], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  return status === 0;
}

/** Runs a JavaScript tool with this Node; what it says is a problem only when it fails. */
function tool(path: string, args: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { cwd: ROOT, encoding: 'utf8' });
  if (status === 0) return [];
  const lines = `${stdout}${stderr}`.split('\n').filter((line) => line.trim() !== '');
  return lines.length > 0 ? lines : [`${path} ended with ${status}`];
}

async function layerProblems(): Promise<string[]> {
  const violations = await checkLayers();
  return violations.map(({ file, line, specifier, reason }) => `${file}:${line}: ${specifier}: ${reason}`);
}

process.exit(await main(process.argv.slice(2)));
