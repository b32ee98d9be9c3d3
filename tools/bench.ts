/**
 * Runs the benchmarks of `bench/`, one after the other, each in a process of its own.
 *
 *     node tools/bench.ts [PART-OF-A-NAME…]
 */

import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { cpus, loadavg, totalmem } from 'node:os';
import { basename, join } from 'node:path';
import { ensureBuilt, ROOT } from './build.ts';

const words = process.argv.slice(2);
const programs = globSync('bench/*.ts', { cwd: ROOT })
  .filter((path) => words.length === 0 || words.some((word) => path.includes(word)))
  .sort();

await ensureBuilt();
console.log(`machine  ${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`);
console.log(
  `system   ${readFileSync('/proc/version', 'utf8').split(' ').slice(0, 3).join(' ')}, node ${process.versions.node}`,
);
console.log(
  `load     ${loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')} before`,
);
let failed = 0;
for (const path of programs) {
  console.log(`\n== ${basename(path, '.ts')}`);
  const { status } = spawnSync(process.execPath, [join(ROOT, path)], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) failed++;
}
console.log(
  `\nload     ${loadavg()
    .map((value) => value.toFixed(2))
    .join(' ')} after`,
);
if (failed > 0) console.log(`${failed} of ${programs.length} benchmarks failed`);
process.exitCode = failed > 0 || programs.length === 0 ? 1 : 0;
