import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ROOT } from './build.ts';

const folder = mkdtempSync(join(tmpdir(), 'ci-'));
after(() => rmSync(folder, { recursive: true }));

/** What an `npm` that only counts says for each of the steps that count. */
type Steps = Readonly<Record<'unit' | 'check' | 'lab', string>>;

/** Runs `.ci/run` in a tree of its own with a pretended npm. */
function runCi(steps: Steps): { status: number | null; lines: string[] } {
  const root = mkdtempSync(join(folder, 'tree-'));
  for (const name of ['.ci', 'tools', 'bin']) mkdirSync(join(root, name));
  copyFileSync(join(ROOT, '.ci', 'run'), join(root, '.ci', 'run'));
  writeFileSync(join(root, 'tools', 'apt-packages.txt'), '# none\n');
  writeFileSync(join(root, 'tools', 'bootstrap.sh'), 'exit 0\n');
  const npm = `#!/bin/sh
case "$*" in
  *test:lab*) ${steps.lab} ;;
  *check*) ${steps.check} ;;
  *build*) ;;
  *) ${steps.unit} ;;
esac
`;
  writeFileSync(join(root, 'bin', 'npm'), npm);
  chmodSync(join(root, 'bin', 'npm'), 0o755);
  const { status, stdout } = spawnSync('bash', ['--norc', join(root, '.ci', 'run')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: `${join(root, 'bin')}:/usr/bin:/bin` },
  });
  return { status, lines: stdout.trimEnd().split('\n') };
}

const count = (passed: number, failed: number) =>
  `echo '{"suite":"x","passed":${passed},"failed":${failed},"skipped":0,"seconds":1}' >>"$DISKDUMP_TEST_COUNTS"`;

test('the last line sums up all steps', () => {
  const { status, lines } = runCi({ unit: count(10, 0), check: count(8, 0), lab: count(7, 0) });
  assert.equal(lines.at(-1), '25 passed, 0 failed');
  assert.equal(status, 0);
});

test('failures of a step are in the sum, and the steps behind it still run', () => {
  const { status, lines } = runCi({ unit: `${count(9, 1)}; exit 1`, check: count(8, 0), lab: count(7, 0) });
  assert.equal(lines.at(-1), '24 passed, 1 failed');
  assert.equal(status, 1);
});

test('a step that dies without counting is a failure', () => {
  const { status, lines } = runCi({ unit: count(10, 0), check: 'exit 3', lab: 'kill -9 $$' });
  assert.equal(lines.at(-1), '10 passed, 2 failed');
  assert.equal(status, 1);
});

test('nothing run is a failure', () => {
  const { status, lines } = runCi({ unit: 'true', check: 'true', lab: 'true' });
  assert.equal(lines.at(-1), '0 passed, 1 failed');
  assert.equal(status, 1);
});
