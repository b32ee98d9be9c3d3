/** Log, names and memory of real kernels, against what drgn, crash and vmcore-dmesg found in the same dumps. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findSymbols } from '../../src/kernel/kallsyms.ts';
import { formatLogLine, formatVmcoreDmesg, logDocument } from '../../src/kernel/log-text.ts';
import { MemoryReader } from '../../src/kernel/memory.ts';
import { openKernel } from '../../src/kernel/open.ts';
import { findPanic } from '../../src/kernel/panic.ts';
import { readLog } from '../../src/kernel/printk.ts';
import { openStructFacts } from '../../src/kernel/struct-facts.ts';
import { findTimes } from '../../src/kernel/times.ts';
import {
  type DrgnTruth,
  readSystemMap,
  withCorpusDump,
  withoutBuildPath,
  X86_64_DUMPS,
} from '../support/kernel-corpus.ts';
import { saveRings, segmentMemory } from '../support/kernel-segments.ts';

const NS_PER_SECOND = 1_000_000_000n;
/** Where the kernel's text is linked. */
const LINK_STEXT = 0xffffffff81000000n;
/** Word i of the vmalloc memory of the lab's module. */
const VMALLOC_WORDS = (256 * 1024) / 8;
const VMALLOC_TAG = 0xf00dn << 48n;

for (const name of X86_64_DUMPS) {
  test(`${name}: the log, record by record and as every tool prints it`, () => {
    withCorpusDump(name, ({ vmcore, truth }) => {
      const kernel = openKernel(vmcore);
      const { records, end } = readLog(kernel.memory, kernel.printkLayout);
      const { dmesg_records: expected } = JSON.parse(truth('drgn.json.gz').toString()) as DrgnTruth;
      assert.deepEqual(end, { records: expected.length, unreadable: 0, problems: [] });
      records.forEach((record, i) => {
        const said = expected[i] as (typeof expected)[number];
        const { SUBSYSTEM: subsystem, DEVICE: device } = said.context;
        const document = logDocument(record);
        assert.deepEqual(
          { ...document, text: withoutBuildPath(document.text) },
          {
            seq: said.seq,
            tsNs: BigInt(said.ts_ns),
            level: said.level,
            facility: said.facility,
            caller: said.caller_cpu === null ? `T${said.caller_tid}` : `C${said.caller_cpu}`,
            text: withoutBuildPath(said.text),
            ...(subsystem !== undefined && { subsystem }),
            ...(device !== undefined && { device }),
          },
        );
      });
      const lines = (showLevel: boolean): string =>
        withoutBuildPath(records.map((record) => `${formatLogLine(record, { showLevel })}\n`).join(''));
      assert.equal(lines(false), truth('crash/log.txt').toString('latin1'));
      assert.equal(lines(true), truth('crash/log-m.txt').toString('latin1'));
      if (name !== 's3-6.1-kdump') return;
      const dmesg = Buffer.concat(records.map(formatVmcoreDmesg)).toString('latin1');
      assert.equal(withoutBuildPath(dmesg), truth('vmcore-dmesg.txt').toString('latin1'));
    });
  });

  test(`${name}: the log out of nothing but the saved ring`, () => {
    withCorpusDump(name, ({ vmcore }) => {
      const kernel = openKernel(vmcore);
      const saved = readLog(segmentMemory(saveRings(kernel)), kernel.printkLayout);
      assert.deepEqual(saved, readLog(kernel.memory, kernel.printkLayout));
    });
  });

  test(`${name}: names, addresses and memory`, () => {
    withCorpusDump(name, ({ vmcore, truth }) => {
      const kernel = openKernel(vmcore);
      const drgn = JSON.parse(truth('drgn.json.gz').toString()) as DrgnTruth;
      const { release, version, nodename, machine } = kernel.readUtsname();
      const { program } = drgn;
      assert.deepEqual(
        { release, version, nodename, machine },
        { release: program.release, version: program.version, nodename: program.nodename, machine: program.machine },
      );
      const map = readSystemMap(release);
      const slide = (kernel.vmcoreinfo.symbol('_stext') as bigint) - LINK_STEXT;
      const banner = (map.get('linux_banner') as bigint) + slide;
      assert.equal(banner, BigInt(drgn.symbols.linux_banner?.[0] as string));
      const reader = new MemoryReader(kernel.memory);
      const text = Buffer.from(reader.bytes(banner, 64)).toString('latin1');
      assert.ok(text.startsWith(`Linux version ${release} (`));
      const wanted = ['_text', 'init_task', 'linux_banner', 'panic', '__start_BTF', 'prb', 'jiffies_64'];
      const found = findSymbols(kernel.memory, kernel.vmcoreinfo, wanted);
      for (const symbol of wanted) assert.equal(found?.get(symbol), (map.get(symbol) as bigint) + slide, symbol);
      checkVmallocWords(reader, truth('console.log').toString('latin1'));
    });
  });

  test(`${name}: BTF tells what vmcoreinfo tells`, () => {
    withCorpusDump(name, ({ vmcore }) => {
      const { memory, vmcoreinfo } = openKernel(vmcore);
      const facts = openStructFacts(memory, vmcoreinfo);
      let compared = 0;
      for (const [key] of vmcoreinfo.entries()) {
        const member = /^OFFSET\((.*)\)$/.exec(key)?.[1];
        // Names that the note keeps for members that have moved into unions or other structures.
        if (member === undefined || facts?.offset(member) === undefined) continue;
        assert.equal(facts.offset(member), vmcoreinfo.offset(member), key);
        compared++;
      }
      assert.ok(compared > 30, `${compared} offsets compared`);
    });
  });
}

/** 256 KiB that the module filled, read through the kernel's page tables. */
function checkVmallocWords(reader: MemoryReader, console: string): void {
  const start = BigInt(`0x${/crashme: list=.* vmalloc=([0-9a-f]+)/.exec(console)?.[1]}`);
  const words = new DataView(reader.bytes(start, VMALLOC_WORDS * 8).buffer);
  for (let i = 0; i < VMALLOC_WORDS; i++) assert.equal(words.getBigUint64(8 * i, true), VMALLOC_TAG | BigInt(i));
}

const PANICS = {
  's1-6.1-sysrq': { message: 'Kernel panic - not syncing: sysrq triggered crash', cpu: 0, pid: 1, comm: 'init' },
  's2-6.12-null-smp2': { message: 'Kernel panic - not syncing: Fatal exception', cpu: 1, pid: 1, comm: 'init' },
  's3-6.1-kdump': { message: 'kernel BUG at crashme.c:61!', cpu: 1, pid: 1, comm: 'init' },
  's5-6.1-hung-numa': {
    message: 'Kernel panic - not syncing: hung_task: blocked tasks',
    cpu: 1,
    pid: 31,
    comm: 'khungtaskd',
  },
  's7-6.1-qemu-small': {
    message: 'Kernel panic - not syncing: crashme: deliberate panic, code 1234',
    cpu: 0,
    pid: 1,
    comm: 'init',
  },
} as const;

test('the panic, as crash finds it in memory', () => {
  for (const name of X86_64_DUMPS) {
    withCorpusDump(name, ({ vmcore, truth }) => {
      const kernel = openKernel(vmcore);
      const panic = findPanic(readLog(kernel.memory, kernel.printkLayout).records);
      assert.deepEqual(panic && { ...panic, message: withoutBuildPath(panic.message) }, PANICS[name]);
      const bt = truth('crash/bt.txt').toString('latin1');
      const [, pid, cpu, comm] = /^PID: (\d+) .* CPU: (\d+) +COMMAND: "(.*)"/.exec(bt) ?? [];
      assert.deepEqual(
        { pid: panic?.pid, cpu: panic?.cpu, comm: panic?.comm },
        { pid: Number(pid), cpu: Number(cpu), comm },
      );
    });
  }
});

test('times of a real kdump: crash and boot agree with what crash computes', () => {
  withCorpusDump('s3-6.1-kdump', ({ vmcore, truth }) => {
    const kernel = openKernel(vmcore);
    const lastStampNs = readLog(kernel.memory, kernel.printkLayout).records.at(-1)?.tsNs;
    const times = findTimes({ vmcoreinfo: kernel.vmcoreinfo, lastStampNs });
    const date = /DATE: (.*)/.exec(truth('crash/sys.txt').toString('latin1'))?.[1] as string;
    const crashSeconds = Date.parse(date) / 1000;
    assert.ok(
      Math.abs((times.crashTimeSeconds as number) - crashSeconds) <= 1,
      `${times.crashTimeSeconds} and ${date}`,
    );
    assert.equal(
      times.bootTimeSeconds,
      (times.crashTimeSeconds as number) - Number((lastStampNs as bigint) / NS_PER_SECOND),
    );
  });
});
