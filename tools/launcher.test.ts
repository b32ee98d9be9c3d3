import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ensureBuilt, ROOT } from './build.ts';

const folder = mkdtempSync(join(tmpdir(), 'launcher-'));
const LAUNCHER = join(ROOT, 'bin', 'diskdump');

before(async () => {
  await ensureBuilt();
});
after(() => rmSync(folder, { recursive: true }));

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd = folder,
): Result {
  return spawnSync(command, args, { cwd, encoding: 'utf8', env: { PATH: '/usr/bin:/bin', ...env } });
}

/** A folder of commands for PATH: the system's without its Node, and the scripts given. */
function commands(scripts: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(folder, 'path-'));
  for (const name of ['sh', 'readlink', 'find', 'dirname', 'cksum', 'cat', 'touch', 'mkdir']) {
    symlinkSync(join('/usr/bin', name), join(path, name));
  }
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(path, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(path, name), 0o755);
  }
  return path;
}

/** What a package would install: no sources, no packages. */
function installed(): string {
  const root = mkdtempSync(join(folder, 'installed-'));
  mkdirSync(join(root, 'bin'));
  copyFileSync(LAUNCHER, join(root, 'bin', 'diskdump'));
  cpSync(join(ROOT, 'dist', 'cli'), join(root, 'dist', 'cli'), { recursive: true });
  return root;
}

test('starts through a link, by a relative path, and by PATH', () => {
  symlinkSync(LAUNCHER, join(folder, 'dd'));
  for (const { status, stdout, stderr } of [
    run(join(folder, 'dd'), ['version']),
    run('bin/diskdump', ['version'], {}, ROOT),
    run('../bin/diskdump', ['version'], {}, join(ROOT, 'src')),
    run('diskdump', ['version'], { PATH: `${join(ROOT, 'bin')}:/usr/bin:/bin` }),
    run('sh', ['bin/diskdump', 'version'], {}, ROOT),
  ]) {
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^diskdump \d+\.\d+\.\d+ \(node 2[4-9]\./);
  }
});

test('installed, it needs nothing but its bundle and a Node', () => {
  const root = installed();
  mkdirSync(join(root, 'runtime', 'bin'), { recursive: true });
  symlinkSync(process.execPath, join(root, 'runtime', 'bin', 'node'));
  const { status, stdout } = run(join(root, 'bin', 'diskdump'), ['version', '--json'], { PATH: commands({}) });
  assert.equal(status, 0);
  assert.equal(JSON.parse(stdout).node, process.versions.node);
});

test('an old Node in PATH is refused with what to do, a new one is taken', () => {
  const file = join(installed(), 'bin', 'diskdump');
  for (const version of ['v20.20.2', 'v24.14.9', 'v8.0.0', 'nonsense']) {
    const { status, stderr } = run(file, ['version'], { PATH: commands({ node: `echo ${version}` }) });
    assert.equal(status, 2, version);
    assert.match(stderr, /^diskdump: no Node from 24\.15 is in PATH\nhint: install Node 26/);
  }
  assert.equal(run(file, ['version'], { PATH: commands({}) }).status, 2);
  for (const version of ['v24.15.0', 'v25.0.0', 'v26.10.0', 'v100.1.1']) {
    const script = `[ "$1" = --version ] && { echo ${version}; exit; }\necho "ran $*"`;
    const { status, stdout } = run(file, ['a b', 'c'], { PATH: commands({ node: script }) });
    assert.equal(status, 0);
    assert.match(stdout, /^ran .*dist\/cli\/main\.mjs a b c$/m);
  }
});

test('a reader that has gone ends it quietly', () => {
  const { stdout, stderr } = run('bash', ['--norc', '-c', `${LAUNCHER} --help | true; echo "\${PIPESTATUS[0]}"`]);
  assert.equal(stdout, '0\n');
  assert.equal(stderr, '');
});

/** A tree with only what `bootstrap.sh` looks at, and an `npm` that says that it ran. */
function bootstrapTree(): { root: string; run: (version?: string) => Result; touchLock: () => void } {
  const root = mkdtempSync(join(folder, 'tree-'));
  mkdirSync(join(root, 'tools'));
  copyFileSync(join(ROOT, 'tools', 'bootstrap.sh'), join(root, 'tools', 'bootstrap.sh'));
  writeFileSync(join(root, 'package-lock.json'), '{"lock":1}');
  const npm = 'echo "npm $*"; mkdir -p node_modules; touch node_modules/.package-lock.json';
  return {
    root,
    run: (version = 'v26.10.0') =>
      run('sh', [join(root, 'tools', 'bootstrap.sh')], { PATH: commands({ npm, node: `echo ${version}` }) }),
    touchLock: () => {
      writeFileSync(join(root, 'package-lock.json'), '{"lock":2}');
      const later = Date.now() / 1000 + 60;
      utimesSync(join(root, 'package-lock.json'), later, later);
    },
  };
}

test('npm scripts install first when packages are missing or the lockfile is another', () => {
  const tree = bootstrapTree();
  const first = tree.run();
  assert.equal(first.status, 0);
  assert.match(first.stderr, /installing the packages.*\nnpm ci --ignore-scripts/s);
  assert.equal(tree.run().stderr, '');
  tree.touchLock();
  assert.match(tree.run().stderr, /npm ci/);
  assert.equal(tree.run().stderr, '');
});

test('npm scripts refuse an old Node kindly', () => {
  const { status, stderr } = bootstrapTree().run('v20.20.2');
  assert.equal(status, 2);
  assert.match(stderr, /needs Node from 24\.15, found v20\.20\.2/);
  assert.match(stderr, /^hint: /m);
});
