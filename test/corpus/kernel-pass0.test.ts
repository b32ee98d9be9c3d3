/** Pass 0 against the tools it is for: what they read is in it, and a dump of nothing else serves them. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { countRanges, findRange, type Range } from '../../src/base/ranges.ts';
import { openVmcore } from '../../src/format/open.ts';
import type { Vmcore } from '../../src/format/vmcore.ts';
import { nodeCodecs } from '../../src/host/codecs.ts';
import { openFileSource } from '../../src/host/file-source.ts';
import { planEssentialPages } from '../../src/kernel/essential-pages.ts';
import { listLogRing } from '../../src/kernel/log-rings.ts';
import { PagedMemory } from '../../src/kernel/memory.ts';
import { openKernel } from '../../src/kernel/open.ts';
import { readLog, readPrintkRing } from '../../src/kernel/printk.ts';
import { traceReads } from '../../tools/trace-reads.ts';
import { withCorpusDump, X86_64_DUMPS } from '../support/kernel-corpus.ts';
import { encodeNotes, writePlacedKdump } from '../support/kernel-kdump.ts';

/** 4 KiB pages. The ring of a small guest takes 145; the rest are page tables, sections and nodes. */
const PAGES_MAX = 640;

/** Reads stretches of virtual memory with drgn and prints the digest of each. */
const DRGN_SCRIPT = `
import drgn, hashlib, json, sys
program = drgn.Program()
program.set_core_dump(sys.argv[1])
for address, length in json.load(open(sys.argv[2])):
    print(hashlib.sha256(program.read(int(address, 16), length)).hexdigest())
`;

function plan(vmcore: Vmcore): readonly Range[] {
  const { ranges, skipped } = planEssentialPages({ ...vmcore, physical: new PagedMemory(vmcore) });
  assert.deepEqual(skipped, []);
  assert.ok(countRanges(ranges) <= PAGES_MAX, `${countRanges(ranges)} pages`);
  return ranges;
}

/** What drgn is made to read: the name, and every piece of the log. */
function writeRequests(vmcore: Vmcore, path: string): string[] {
  const kernel = openKernel(vmcore);
  const pieces = listLogRing(readPrintkRing(kernel.memory, kernel.printkLayout), kernel.printkLayout);
  const uts = { vaddr: kernel.vmcoreinfo.symbol('init_uts_ns') as bigint, length: 390 };
  const requests = [uts, ...pieces];
  writeFileSync(path, JSON.stringify(requests.map(({ vaddr, length }) => [vaddr.toString(16), length])));
  return requests.map(({ vaddr, length }) => {
    const bytes = new Uint8Array(length);
    kernel.memory.readVirtual(bytes, vaddr);
    return createHash('sha256').update(bytes).digest('hex');
  });
}

function run(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${command}: ${error?.message ?? stderr}`);
  return stdout;
}

for (const name of X86_64_DUMPS) {
  test(`${name}: pass 0 holds every page that drgn and makedumpfile read`, () => {
    withCorpusDump(name, ({ vmcore }, folder) => {
      const ranges = plan(vmcore);
      const path = join(folder, 'placed');
      const placed = writePlacedKdump({ path, vmcore, notes: encodeNotes(vmcore) });
      const requests = join(folder, 'requests');
      writeRequests(vmcore, requests);
      const dmesg = join(folder, 'dmesg');
      for (const [tool, atLeast, command] of [
        ['drgn', 145, ['/usr/bin/python3', '-c', DRGN_SCRIPT, path, requests]],
        ['makedumpfile', 145, ['makedumpfile', '-f', '--dump-dmesg', path, dmesg]],
      ] as const) {
        const pfns = traceReads(placed, path, command);
        assert.ok(pfns.length >= atLeast, `${tool} read ${pfns.length} pages: the trace does not see it`);
        assert.deepEqual(
          pfns.filter((pfn) => findRange(ranges, pfn) < 0).map((pfn) => pfn.toString(16)),
          [],
          tool,
        );
      }
    });
  });

  test(`${name}: a dump of pass 0 alone opens and gives the whole log`, () => {
    withCorpusDump(name, ({ vmcore, path }, folder) => {
      const ranges = plan(vmcore);
      const small = join(folder, 'pass-0');
      const whole = join(folder, 'whole');
      const notes = encodeNotes(vmcore);
      writePlacedKdump({ path: small, vmcore, notes, keep: (pfn) => findRange(ranges, pfn) >= 0 });
      writePlacedKdump({ path: whole, vmcore, notes });

      const requests = join(folder, 'requests');
      const digests = writeRequests(vmcore, requests);
      assert.deepEqual(run('/usr/bin/python3', '-c', DRGN_SCRIPT, small, requests).trim().split('\n'), digests);

      const dmesg = (dump: string): Buffer => {
        run('makedumpfile', '-f', '--dump-dmesg', dump, `${dump}.dmesg`);
        return readFileSync(`${dump}.dmesg`);
      };
      assert.deepEqual(dmesg(small), dmesg(whole));

      const source = openFileSource(small);
      const kernel = openKernel(openVmcore(source, { codecs: nodeCodecs() }));
      const full = openKernel(vmcore);
      assert.deepEqual(readLog(kernel.memory, kernel.printkLayout), readLog(full.memory, full.printkLayout));
      assert.deepEqual(kernel.readUtsname(), full.readUtsname(), path);
      source.close();
    });
  });
}
