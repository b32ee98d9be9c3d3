import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { runCli } from '../../../test/support/terminal.ts';
import { VERBS } from '../app.ts';

/** What bash would offer for the words typed so far. */
function complete(script: string, ...words: readonly string[]): string[] {
  const quoted = words.map((word) => `'${word}'`).join(' ');
  const ask = `COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _diskdump; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, status, stderr } = spawnSync('bash', ['--norc', '-c', `${script}\n${ask}`], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((line) => line !== '');
}

test('bash completes verbs and flags', async () => {
  const { code, out } = await runCli('completion', 'bash');
  assert.equal(code, 0);
  assert.deepEqual(complete(out, 'diskdump', '').sort(), Object.keys(VERBS).sort());
  assert.deepEqual(complete(out, 'diskdump', 'ver'), ['version']);
  assert.deepEqual(complete(out, 'diskdump', 'version', '--j'), ['--json']);
});

test('zsh and fish scripts name every verb', async () => {
  for (const shell of ['zsh', 'fish']) {
    const { out } = await runCli('completion', shell);
    for (const name of Object.keys(VERBS)) assert.match(out, new RegExp(`\\b${name}\\b`));
  }
});

test('another shell is refused', async () => {
  const { code, err } = await runCli('completion', 'tcsh');
  assert.equal(code, 2);
  assert.match(err, /no completion for 'tcsh', only for bash, zsh, fish/);
});
