import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type BuildRecord, ensureBuilt, inputKey } from './build.ts';
import { LAYERS } from './layers.ts';

const folder = mkdtempSync(join(tmpdir(), 'build-'));
let dist: string;

before(async () => {
  dist = (await ensureBuilt()).folder;
});
after(() => rmSync(folder, { recursive: true }));

test('a second build of the same sources does nothing, quickly', async () => {
  const { key, built } = await ensureBuilt();
  assert.equal(built, false);
  assert.equal(key, inputKey());
  const started = performance.now();
  await ensureBuilt();
  assert.ok(performance.now() - started < 500);
});

test('stage 1 starts with nothing but its folder and Node', () => {
  const alone = join(folder, 'stage1');
  mkdirSync(join(folder, 'run'));
  cpSync(join(dist, 'stage1'), alone, { recursive: true });
  const args = [join(alone, 'main.mjs'), '--config', join(folder, 'none.json'), '--run', join(folder, 'run')];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.notEqual(status, 0);
  assert.match(`${stdout}${stderr}`, /diskdump: .*none\.json/);
  assert.doesNotMatch(`${stdout}${stderr}`, /ERR_MODULE_NOT_FOUND|ERR_UNKNOWN|SyntaxError/);
});

test('the native part beside the bundle loads', () => {
  const script = `const koffi = require(${JSON.stringify(join(dist, 'stage1', 'koffi.node'))}); console.log(koffi.version)`;
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: folder, encoding: 'utf8' });
  assert.match(stdout, /^3\./, stderr);
});

test('stage 1 holds only what its layer may import, and no package', () => {
  const { bundles } = JSON.parse(readFileSync(join(dist, 'build.json'), 'utf8')) as BuildRecord;
  const allowed = new Set(['stage1', ...LAYERS.stage1!.imports]);
  for (const name of ['stage1/main.mjs', 'stage1/device-thread.mjs']) {
    for (const input of bundles[name]!.inputs) {
      assert.ok(input.startsWith('src/'), `${name} holds ${input}`);
      assert.ok(allowed.has(input.split('/')[1]!), `${name} holds ${input}`);
    }
  }
});

test('page kernels lie beside both bundles', () => {
  const kernels = readdirSync(join(dist, 'kernels'));
  assert.ok(kernels.length > 0);
  for (const bundle of ['cli', 'stage1']) {
    for (const file of kernels) {
      assert.ok(existsSync(join(dist, bundle, file)), `${bundle}/${file}`);
      assert.ok(WebAssembly.validate(readFileSync(join(dist, bundle, file))), `${bundle}/${file}`);
    }
  }
});
