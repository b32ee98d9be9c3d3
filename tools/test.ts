/**
 * Runs one suite and says what came out.
 *
 *     node tools/test.ts unit|lab|corpus [PART-OF-A-PATH…] [--seed=N] [--update]
 *
 * Words select files; flags are handed to the tests. A failed test prints at once, the summary comes last; a suite that
 * ran nothing has failed. With `DISKDUMP_TEST_COUNTS` the counts are added to that file, a line of JSON each run.
 */

import { appendFileSync, existsSync, globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { inspect } from 'node:util';
import { ensureBuilt, ROOT } from './build.ts';

interface Suite {
  readonly files: readonly string[];
  readonly except: readonly string[];
  readonly concurrency: number;
  /** For one test. */
  readonly timeoutMs: number;
}

const SUITES: Readonly<Record<string, Suite>> = {
  unit: {
    files: ['src/**/*.test.ts', 'test/**/*.test.ts', 'tools/**/*.test.ts'],
    except: ['test/e2e/**', 'test/corpus/**'],
    concurrency: availableParallelism(),
    timeoutMs: 600_000,
  },
  lab: { files: ['test/e2e/**/*.test.ts'], except: [], concurrency: 1, timeoutMs: 1_200_000 },
  corpus: { files: ['test/corpus/**/*.test.ts'], except: [], concurrency: 1, timeoutMs: 600_000 },
};

/** What one run counted; single tests, not suites. */
export interface Counts {
  readonly suite: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

async function main(argv: readonly string[]): Promise<number> {
  const [name = 'unit', ...rest] = argv;
  const suite = SUITES[name];
  if (suite === undefined) {
    console.error(`no suite '${name}', only ${Object.keys(SUITES).join(', ')}`);
    return 2;
  }
  if (name === 'corpus') requireCorpus();
  const unbuilt = await buildProblem();
  if (unbuilt !== undefined) console.log(`FAILED  build\n${unbuilt.replace(/^/gm, '        ')}\n`);
  const flags = rest.filter((word) => word.startsWith('-'));
  const words = rest.filter((word) => !word.startsWith('-'));
  const files = selectFiles(suite, words);
  const ran = await runFiles(name, suite, files, flags);
  const counts = unbuilt === undefined ? ran : { ...ran, failed: ran.failed + 1 };
  report(counts);
  return counts.failed > 0 || counts.passed === 0 ? 1 : 0;
}

/** What keeps the bundles from being built; most tests run without them all the same. */
async function buildProblem(): Promise<string | undefined> {
  try {
    await ensureBuilt();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Where the dumps are that other tools described; the tests read the same variable. */
function requireCorpus(): void {
  const folder = resolve(ROOT, process.env.DISKDUMP_CORPUS ?? '../shared/corpus');
  process.env.DISKDUMP_CORPUS = folder;
  if (existsSync(join(folder, 'MANIFEST.md'))) return;
  console.error(`no corpus at ${folder}: set DISKDUMP_CORPUS to the folder that has its MANIFEST.md`);
  console.log('\n0 passed, 1 failed');
  process.exit(1);
}

function selectFiles(suite: Suite, words: readonly string[]): string[] {
  const files = globSync([...suite.files], { cwd: ROOT, exclude: [...suite.except] }).sort();
  return words.length === 0 ? files : files.filter((file) => words.some((word) => file.includes(word)));
}

async function runFiles(name: string, suite: Suite, files: readonly string[], argv: string[]): Promise<Counts> {
  const started = performance.now();
  let [passed, failed, skipped] = [0, 0, 0];
  const stream = run({
    cwd: ROOT,
    files: files.map((file) => join(ROOT, file)),
    concurrency: suite.concurrency,
    timeout: suite.timeoutMs,
    argv,
  });
  for await (const { type, data } of stream) {
    if (type === 'test:pass' && data.name === data.file) {
      failed++;
      console.log(`\nFAILED  ${relative(ROOT, data.file)}: no test in it\n`);
    } else if (type === 'test:pass' && data.details.type !== 'suite') {
      if (data.skip !== undefined && data.skip !== false) skipped++;
      else passed++;
      if (name !== 'unit') console.log(`ok      ${data.name} (${seconds(data.details.duration_ms)} s)`);
    } else if (type === 'test:fail' && data.details.type !== 'suite') {
      failed++;
      console.log(formatFailure(data));
    } else if (type === 'test:stderr' || type === 'test:stdout') {
      process.stderr.write(data.message);
    } else if (type === 'test:summary' && data.file !== undefined && name === 'unit') {
      const { counts } = data;
      const mark = data.success ? 'ok    ' : 'FAILED';
      console.log(`${mark}  ${relative(ROOT, data.file)} (${counts.tests} tests, ${seconds(data.duration_ms)} s)`);
    }
  }
  return { suite: name, passed, failed, skipped, seconds: Math.round((performance.now() - started) / 100) / 10 };
}

interface Failure {
  readonly name: string;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly details: { readonly error: Error };
}

function formatFailure({ name, file, line, details }: Failure): string {
  const where = file === undefined ? '' : ` (${relative(ROOT, file)}:${line})`;
  const cause = details.error.cause ?? details.error;
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : inspect(cause);
  return `\nFAILED  ${name}${where}\n${text.replace(/^/gm, '        ')}\n`;
}

function report(counts: Counts): void {
  const { suite, passed, failed, skipped } = counts;
  const file = process.env.DISKDUMP_TEST_COUNTS;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(counts)}\n`);
  const skippedText = skipped > 0 ? `, ${skipped} skipped` : '';
  console.log(`\n${suite}: ${passed + failed} tests in ${counts.seconds} s${skippedText}`);
  if (passed + failed === 0) console.log('nothing ran: that is a failure');
  console.log(`${passed} passed, ${failed} failed`);
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

process.exit(await main(process.argv.slice(2)));
