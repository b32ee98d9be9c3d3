import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../../test/driver/scratch.ts';
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

test('bash completes words where there are some, and leaves paths to readline, which quotes them', async () => {
  const { out } = await runCli('completion', 'bash');
  assert.deepEqual(complete(out, 'diskdump', 'completion', ''), ['bash', 'zsh', 'fish']);
  assert.deepEqual(complete(out, 'diskdump', 'completion', 'f'), ['fish']);
  assert.deepEqual(complete(out, 'diskdump', 'capture', 'x', '--compress', 'zs'), ['zstd']);
  assert.deepEqual(complete(out, 'diskdump', 'log', 'x', '--level', 'e'), ['emerg', 'err']);
  assert.deepEqual(complete(out, 'diskdump', 'format', '--wipe', '='), ['discard', 'none']);
  assert.deepEqual(complete(out, 'diskdump', 'format', '--wipe', '=', 'd'), ['discard']);
  assert.deepEqual(complete(out, 'diskdump', 'help', 'ver'), ['version']);
  assert.deepEqual(complete(out, 'diskdump', 'info', ''), []);
  assert.match(out, /^complete -o default -F _diskdump diskdump$/m);
});

test('bash offers a file whose name has spaces as one word, and a word behind =', async () => {
  const folder = scratchFolder();
  writeFileSync(join(folder, 'my saved vmcore'), '');
  writeFileSync(join(folder, 'completion'), (await runCli('completion', 'bash')).out);
  // A terminal of its own: completion is readline's, which a script does not have.
  const typed = [
    '. ./completion',
    'diskdump() { printf "got=<%s>\\n" "$2"; }',
    'diskdump info my\t',
    'diskdump format --wipe=d\t',
    'exit',
  ];
  const { stdout } = spawnSync('script', ['-qec', 'bash --norc -i', '/dev/null'], {
    encoding: 'utf8',
    cwd: folder,
    input: `${typed.join('\n')}\n`,
    env: { ...process.env, TERM: 'dumb', INPUTRC: '/dev/null' },
    timeout: 20_000,
  });
  assert.match(stdout, /^got=<my saved vmcore>\r?$/m);
  assert.match(stdout, /^got=<--wipe=discard>\r?$/m);
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
