/**
 * The Node that runs diskdump comes as a registry package that repackages the project's binaries. Its sums are recorded
 * here, so that a lockfile cannot bring another binary unnoticed.
 */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './build.ts';

/** Compares the installed binary with `runtime-sums.json`. Reads 140 MB: about 0.1 s. */
export function checkRuntime(): string[] {
  const sums = readJson(join(ROOT, 'tools', 'runtime-sums.json')) as Record<string, string>;
  const wanted = (readJson(join(ROOT, 'package.json')) as { optionalDependencies: Record<string, string> })
    .optionalDependencies;
  const problems: string[] = [];
  for (const [name, version] of Object.entries(wanted)) {
    const expected = sums[`${name}@${version}`];
    if (expected === undefined) problems.push(`tools/runtime-sums.json has no sum of ${name}@${version}`);
    const binary = join(ROOT, 'node_modules', name, 'bin', 'node');
    if (expected === undefined || !existsSync(binary)) continue;
    const found = createHash('sha256').update(readFileSync(binary)).digest('hex');
    if (found !== expected)
      problems.push(`${name}@${version}: sha256 of bin/node is ${found}, recorded is ${expected}`);
  }
  return problems;
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}
