import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { checkLayers, LAYERS } from './layers.ts';

const folder = mkdtempSync(join(tmpdir(), 'layers-'));
after(() => rmSync(folder, { recursive: true }));

function plant(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(folder, 'src-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const BASE = { 'base/a.ts': 'export const a = 1;\n', 'host/h.ts': 'export type H = 1;\n' };

test('a clean tree passes', async () => {
  const root = plant({ ...BASE, 'codec/c.ts': "import { a } from '../base/a.ts';\nexport const c = a;\n" });
  assert.deepEqual(await checkLayers(root), []);
});

const FORBIDDEN: Readonly<Record<string, readonly [string, string, RegExp]>> = {
  'a folder above': ['base/b.ts', "import { h } from '../host/h.ts';", /base may import nothing/],
  'a type only': ['base/b.ts', "import type { H } from '../host/h.ts';", /base may import nothing/],
  're-export': ['codec/b.ts', "export * from '../host/h.ts';", /codec may import base/],
  'dynamic import': ['format/b.ts', "export const late = () => import('../host/h.ts');", /format may import/],
  'import of a type in place': ['format/b.ts', "export type T = import('../host/h.ts').H;", /format may import/],
  'side effect': ['kernel/b.ts', "import '../host/h.ts';", /kernel may import/],
  'worker file': ['capture/b.ts', "new URL('../host/h.ts', import.meta.url);", /capture may import/],
  'node in a core': ['savecore/b.ts', "import { openSync } from 'node:fs';", /no node:\*/],
  'node without its prefix': ['host/b.ts', "import { openSync } from 'fs';", /write node:fs/],
  'a package in a core': ['format/b.ts', "import { z } from 'zod';", /no package/],
  'a file that is not there': ['host/b.ts', "import { x } from '../base/gone.ts';", /no such file/],
  'a file outside': ['host/b.ts', "import { x } from '../../outside.ts';", /outside src|no such file/],
  'a test': ['codec/b.ts', "import '../base/a.test.ts';", /no such file|imported by nobody/],
  'an unknown folder': ['misc/b.ts', "import '../base/a.ts';", /not in the table/],
};

for (const [name, [path, text, reason]] of Object.entries(FORBIDDEN)) {
  test(`fails: ${name}`, async () => {
    const violations = await checkLayers(plant({ ...BASE, [path]: `// one line before\n${text}\n` }));
    assert.equal(violations.length, 1);
    assert.match(violations[0]!.reason, reason);
    assert.equal(violations[0]!.line, 2);
  });
}

test('words in comments and strings are no imports', async () => {
  const text = "/** import x from '../host/h.ts' */\nexport const s = \"import '../host/h.ts'\";\n";
  assert.deepEqual(await checkLayers(plant({ ...BASE, 'base/b.ts': text })), []);
});

test('no core may reach an edge', () => {
  const edges = new Set(['sys', 'driver', 'host', 'stage1', 'lab', 'cli']);
  for (const [name, layer] of Object.entries(LAYERS)) {
    if (!layer.node)
      assert.deepEqual(
        layer.imports.filter((target) => edges.has(target.split('/')[0]!)),
        [],
        name,
      );
  }
});
