/** Other people's tools on our dumps: drgn and makedumpfile open them, and what they read is compared with the guest's RAM. */

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { UnsupportedError } from '../base/errors.ts';
import { findProgram, run } from './programs.ts';

/** What drgn saw. */
export interface DrgnOpinion {
  /** Pages asked for. */
  readonly asked: number;
  /** Pages whose hash equals the RAM file's. */
  readonly equal: number;
  /** Pfns, hex, with what was wrong. */
  readonly wrong: readonly string[];
  /** The kernel's release as drgn understood the dump's VMCOREINFO. */
  readonly release: string;
}

/** Reads a page by its physical address and prints its hash; a page that it cannot read prints the error. */
const DRGN_SCRIPT = `
import hashlib, sys
from drgn import Program, FaultError
prog = Program()
prog.set_core_dump(sys.argv[1])
print("release", prog["UTS_RELEASE"].string_().decode())
for line in sys.stdin:
    try:
        page = prog.read(int(line, 16) << 12, 4096, physical=True)
        print(line.strip(), hashlib.sha256(page).hexdigest())
    except FaultError as error:
        print(line.strip(), "fault:", error)
`;

/** Opens a dump (a file, or an image of a dump device) with drgn and reads these pages through it. */
export function askDrgn(dump: string, ramPath: string, pfns: readonly number[]): DrgnOpinion {
  const input = pfns.map((pfn) => `${pfn.toString(16)}\n`).join('');
  const lines = run(findDrgnPython(), ['-c', DRGN_SCRIPT, dump], { input }).trimEnd().split('\n');
  const ram = openSync(ramPath, 'r');
  const page = Buffer.alloc(4096);
  const wrong: string[] = [];
  for (const [index, pfn] of pfns.entries()) {
    readSync(ram, page, 0, 4096, pfn * 4096);
    const expected = `${pfn.toString(16)} ${createHash('sha256').update(page).digest('hex')}`;
    if (lines[index + 1] !== expected) wrong.push(lines[index + 1] ?? `${pfn.toString(16)} no answer`);
  }
  closeSync(ram);
  const release = lines[0]?.replace('release ', '') ?? '';
  return { asked: pfns.length, equal: pfns.length - wrong.length, wrong: wrong.slice(0, 8), release };
}

/** The Python that has drgn: Debian's own, which need not be the first in PATH. @throws UnsupportedError without one. */
export function findDrgnPython(): string {
  const candidates = ['/usr/bin/python3', findProgram('python3')].filter((path) => path !== undefined);
  const found = candidates.find((python) => spawnSync(python, ['-c', 'import drgn']).status === 0);
  if (found !== undefined) return found;
  throw new UnsupportedError(
    'LAB_PACKAGES_MISSING',
    'looking for drgn: no python3 here has it',
    {},
    'apt-get install python3-drgn',
  );
}

/** The kernel log as makedumpfile takes it from the dump. */
export function askMakedumpfileLog(dump: string, scratch: string): string {
  const path = `${scratch}.dmesg`;
  rmSync(path, { force: true });
  run('makedumpfile', ['--dump-dmesg', dump, path]);
  return readFileSync(path, 'utf8');
}

/** The dump filtered again by makedumpfile at level 31, compressed with zlib. @returns the new file. */
export function refilter(dump: string, scratch: string): string {
  const path = `${scratch}.refiltered`;
  rmSync(path, { force: true });
  run('makedumpfile', ['-c', '-d', '31', dump, path]);
  return path;
}
