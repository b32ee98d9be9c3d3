import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { scratchFolder, sparseFile } from '../../../test/driver/scratch.ts';
import { buildElf } from '../../../test/support/elf-builder.ts';
import { buildKdump } from '../../../test/support/kdump-builder.ts';
import { runCli } from '../../../test/support/terminal.ts';
import { BlockDevice } from '../../driver/block.ts';

const MIB = 2 ** 20;

function machine(mib: number): string {
  const path = join(scratchFolder(), 'vmcore');
  const data = new Uint8Array(randomBytes(mib * MIB));
  data.fill(0, 8192, 65536);
  writeFileSync(path, buildElf({ segments: [{ paddr: 0x100000n, vaddr: 0xffff888000100000n, data }] }));
  return path;
}

async function formatted(size: number): Promise<string> {
  const path = sparseFile(size, scratchFolder('/dev/shm'));
  const { code, err } = await runCli('format', path, '--for-ram', '1M', '--log-area', '64K', '--sample-rate', '4');
  assert.equal(code, 0, err);
  return path;
}

const check = async (path: string) => {
  const { code, out } = await runCli('check', path, '--json');
  return { code, ...JSON.parse(out) };
};

describe('capture', () => {
  test('puts a machine on a device; check proves every page', async () => {
    const source = machine(4);
    const device = await formatted(16 * MIB);
    const { code, out, err } = await runCli('capture', source, '--to', device, '--json');
    assert.equal(code, 0, err);
    const result = JSON.parse(out);
    assert.equal(result.schema, 'diskdump.capture/1');
    assert.deepEqual([result.state, result.device, result.pages, result.holes], ['complete', device, 1024, 0]);
    assert.deepEqual(result.refused, []);
    const { pages, ...rest } = await check(device);
    assert.deepEqual([rest.code, rest.state, rest.problems], [0, 'complete', []]);
    assert.deepEqual([pages.good, pages.zero, pages.damaged, pages.holes], [1010, 14, 0, 0]);
    const copied = await runCli('pages', device);
    const original = await runCli('pages', source);
    assert.equal(copied.out, original.out);
  });

  for (const codec of ['zlib', 'zstd']) {
    test(`compresses with ${codec}`, async () => {
      const source = join(scratchFolder(), 'vmcore');
      const data = new Uint8Array(2 * MIB).map((_, i) => (i >>> 6) & 0xff);
      writeFileSync(source, buildElf({ segments: [{ paddr: 0n, data }] }));
      const device = await formatted(16 * MIB);
      const { code, out } = await runCli('capture', `vmcore:${source}`, '--to', device, '--compress', codec, '--json');
      assert.equal(code, 0);
      assert.ok(JSON.parse(out).bytes < MIB, out);
      assert.equal((await check(device)).code, 0);
    });
  }

  test('passes over what is no dump device, and says why', async () => {
    const foreign = sparseFile(16 * MIB);
    const good = await formatted(16 * MIB);
    const { code, out, err } = await runCli('capture', machine(1), '--to', `${foreign},/nonexistent,${good}`, '--json');
    assert.equal(code, 0);
    const result = JSON.parse(out);
    assert.equal(result.device, good);
    assert.deepEqual(
      result.refused.map((refusal: { device: string; code: string }) => [refusal.device, refusal.code]),
      [
        [foreign, 'DEVICE_NOT_OURS'],
        ['/nonexistent', 'DEVICE_OPEN'],
      ],
    );
    assert.match(err, /^passed over: (\S+) has no label of diskdump\nhint: `diskdump check \1` says what is on it/m);
    assert.match(err, /^passed over: open of \/nonexistent: no such file or directory \(ENOENT\)\nhint: /m);
    assert.equal((await check(foreign)).state, 'unformatted');
  });

  test('an unsaved dump is never overwritten', async () => {
    const device = await formatted(16 * MIB);
    await runCli('capture', machine(1), '--to', device);
    const { code, out, err } = await runCli('capture', machine(1), '--to', device);
    assert.equal(code, 5);
    assert.match(err, /not saved yet.*\nhint: `diskdump save /);
    assert.match(out, /no dump/);
    assert.equal((await check(device)).code, 0);
  });

  test('a device that is full keeps an honest partial', async () => {
    const device = await formatted(4 * MIB);
    const { code, out } = await runCli('capture', machine(8), '--to', device, '--json');
    assert.equal(code, 4);
    const result = JSON.parse(out);
    assert.equal(result.state, 'partial');
    assert.ok(result.pages > 100 && result.pages < 2048);
    const checked = await check(device);
    assert.deepEqual([checked.code, checked.state, checked.pages.damaged], [1, 'partial', 0]);
    assert.match(checked.problems[0], /the dump is partial: the device is full/);
  });

  test('a device that another program holds is said to be held', async () => {
    const device = await formatted(16 * MIB);
    const holder = BlockDevice.open(device, { writable: true, exclusive: true });
    try {
      const { code, err } = await runCli('capture', machine(1), '--to', device);
      assert.equal(code, 5);
      assert.match(err, /EBUSY.*\nhint: another program holds it/);
    } finally {
      holder.shutdown();
    }
  });

  test('pages of a cut dump that cannot be read are counted once', async () => {
    const source = machine(2);
    truncateSync(source, MIB);
    const { code, out } = await runCli('capture', source, '--to', await formatted(16 * MIB));
    assert.equal(code, 4);
    assert.equal(out.match(/could not be read/g)?.length, 1, out);
  });

  test('help shows that a device must be given', async () => {
    assert.match(
      (await runCli('capture', '--help')).out,
      /^usage: diskdump capture MACHINE --to DEVICE,… \[--FLAG…\]\n/,
    );
  });

  test('what it cannot capture is said', async () => {
    const device = await formatted(16 * MIB);
    const qemu = await runCli('capture', 'qemu:/run/vm.sock', '--to', device);
    assert.equal(qemu.code, 2);
    assert.match(qemu.err, /no machine of kind qemu, expected vmcore:PATH or a dump file/);
    assert.equal((await runCli('capture', machine(1))).code, 2);
    assert.equal((await runCli('capture', '/nonexistent', '--to', device)).code, 3);
    const noPanic = await runCli('capture', 'vmcore:', '--to', device);
    assert.equal(noPanic.code, 3);
    assert.match(noPanic.err, /exists only in a capture kernel, after a panic\nhint: `diskdump arm`/);
  });

  test('what a filtered dump left out stays excluded, on the device and in what is saved; no time is made up', async () => {
    const source = join(scratchFolder(), 'filtered');
    const page = { pfn: 1, bytes: new Uint8Array(4096).fill(7) };
    writeFileSync(source, buildKdump({ dumpLevel: 31, pages: [page], alsoPresent: [3, 4] }));
    const facts = async (path: string) => {
      const { pages, dumpLevel, crashTime, state } = JSON.parse((await runCli('info', '--json', path)).out);
      return { pages, dumpLevel, crashTime, state };
    };
    const expected = await facts(source);
    assert.deepEqual([expected.pages.excluded, expected.dumpLevel], [2, 31]);
    const device = await formatted(16 * MIB);
    const { code, err } = await runCli('capture', source, '--to', device);
    assert.equal(code, 0, err);
    assert.deepEqual(await facts(device), expected);
    const read = await runCli('read', '--phys', device, '0x3000', '8');
    assert.equal(read.code, 4);
    assert.match(read.err, /excluded/);
    const crash = scratchFolder();
    const saved = JSON.parse((await runCli('save', '--json', '--to', crash, device)).out);
    assert.deepEqual([saved.state, saved.holes], ['complete', 0]);
    assert.deepEqual(await facts(join(saved.dir, 'vmcore')), expected);
  });

  test('where not all was captured, what is missing does not pass for filtered, neither there nor in what is saved', async () => {
    const source = join(scratchFolder(), 'filtered-large');
    const pages = Array.from({ length: 4000 }, (_, pfn) => ({ pfn, bytes: randomBytes(4096) }));
    writeFileSync(source, buildKdump({ dumpLevel: 31, maxMapnr: 6000, pages, alsoPresent: [5000, 5001] }));
    const device = join(scratchFolder(), 'small');
    writeFileSync(device, new Uint8Array(12 * MIB));
    assert.equal((await runCli('format', '--log-area', '0', '--for-ram', '8M', device)).code, 0);
    assert.equal((await runCli('capture', source, '--to', device)).code, 4);
    const crash = scratchFolder();
    const saved = JSON.parse((await runCli('save', '--keep', '--json', '--to', crash, device)).out);
    for (const path of [device, join(saved.dir, 'vmcore')]) {
      const { state, pages: counted } = JSON.parse((await runCli('info', '--json', path)).out);
      assert.deepEqual([state, counted.excluded], ['partial', counted.holes], path);
      assert.ok(counted.holes > 2);
    }
  });
});

describe('check', () => {
  test('damage on a device is found page by page', async () => {
    const device = await formatted(16 * MIB);
    await runCli('capture', machine(2), '--to', device);
    const fd = openSync(device, 'r+');
    writeSync(fd, randomBytes(512), 0, 512, 700_416);
    closeSync(fd);
    const { code, state, problems, pages } = await check(device);
    assert.deepEqual([code, state, pages.damaged], [1, 'complete', 1]);
    assert.match(problems[0], /^page 0x/);
    assert.match((await runCli('check', device)).out, /: complete, label .* pages read, \d+ zero, 1 damaged\n/);
    const quick = JSON.parse((await runCli('check', '--quick', '--json', device)).out);
    assert.deepEqual(quick.problems, []);
  });

  test('states of a device', async () => {
    const blank = sparseFile(4 * MIB);
    const unformatted = await check(blank);
    assert.deepEqual([unformatted.code, unformatted.state, unformatted.problems.length], [1, 'unformatted', 1]);
    assert.match(unformatted.problems[0], /no label, stage 1 will pass it over: `diskdump format .*disk/);
    const text = join(scratchFolder(), 'text');
    writeFileSync(text, 'hello, world. '.repeat(100_000));
    const foreign = await check(text);
    assert.deepEqual([foreign.code, foreign.state], [1, 'foreign']);
    assert.match(foreign.problems[0], /begins with 68656c6c6f2c2077/);
    const ready = await formatted(16 * MIB);
    assert.equal((await check(ready)).state, 'ready');
    truncateSync(ready, 8 * MIB);
    assert.notEqual((await check(ready)).state, 'ready');
  });

  test('a ready device with a block overwritten', async () => {
    const device = await formatted(16 * MIB);
    const fd = openSync(device, 'r+');
    writeSync(fd, 'foreign', 0);
    closeSync(fd);
    const { code, state, problems } = await check(device);
    assert.deepEqual([code, state], [1, 'ready']);
    assert.equal(problems.length, 1);
  });

  test('a dump file, whole and cut short', async () => {
    const source = machine(1);
    const whole = await check(source);
    assert.deepEqual([whole.code, whole.state, whole.pages.good], [0, 'complete', 256]);
    truncateSync(source, 500_000);
    const cut = await check(source);
    assert.equal(cut.code, 1);
    assert.ok(cut.problems.length > 0);
  });

  test('what is not there', async () => {
    assert.equal((await runCli('check', '/nonexistent')).code, 3);
  });
});
