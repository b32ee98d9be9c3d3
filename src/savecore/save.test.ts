import assert from 'node:assert/strict';
import { test } from 'node:test';
import { badSector, SimDisk } from '../../test/sim/sim-disk.ts';
import { PAGE, simMachine } from '../../test/sim/sim-machine.ts';
import { assertSameBytes } from '../../test/support/assert-bytes.ts';
import { MemoryStore, PowerCut } from '../../test/support/memory-store.ts';
import {
  assertHolds,
  assertNoWrongPage,
  CAPTURE_BOOT,
  CRASH_SECONDS,
  captureTo,
  clearBit,
  directoryOf,
  findBytes,
  formattedDisk,
  markInUse,
  NEXT_BOOT,
  openSaved,
  pagesOf,
  readableMachine,
  saveFrom,
  saveOptions,
  stateOf,
} from '../../test/support/save-rig.ts';
import { bytesSource } from '../base/source.ts';
import { openDeviceDump } from '../format/kdump/device-vmcore.ts';
import { labelGeometry, readLabel } from '../format/kdump/label.ts';
import { GEOMETRY } from '../format/kdump/log-layout.ts';
import { openKdump } from '../format/kdump/reader.ts';
import { nodeCodecs } from '../host/codecs.ts';
import { readInfo } from './directory.ts';
import { inspectSaved } from './record.ts';
import { saveSteps } from './save.ts';

test('a partial dump is saved as partial, page by page, and its device is ready again', () => {
  const machine = simMachine(1);
  const disk = formattedDisk(1);
  const captured = captureTo(machine, [disk]);
  assert.equal(captured.state, 'partial');
  const store = new MemoryStore();
  const outcome = saveFrom([disk], store);
  assert.deepEqual(outcome.problems, []);
  assert.equal(outcome.records.length, 1);
  const [record] = outcome.records;
  assert.equal(record!.state, 'partial');
  assert.equal(record!.pages, captured.pages);
  assert.equal(record!.holes, captured.holes);
  assert.match(record!.dir, /^memory-store\/127\.0\.0\.1-2026-\d\d-\d\d-\d\d:\d\d:\d\d$/);
  assertHolds(store, directoryOf(record!.dir), machine);
  assert.equal(stateOf(disk), 'ready');
  assert.deepEqual(saveFrom([disk], store), {
    records: [],
    freed: [],
    reformatted: [],
    busy: [],
    problems: [],
    stopped: false,
  });
  const [listed] = store.list('').map((name) => inspectSaved(store, name));
  assert.ok(typeof listed === 'object' && listed.dir === record!.dir);
});

test('a whole dump is complete, compressed pages pass through as they are', () => {
  const machine = readableMachine(2);
  const disk = formattedDisk(2);
  assert.equal(captureTo(machine, [disk], { codec: true }).state, 'complete');
  const store = new MemoryStore();
  const [record] = saveFrom([disk], store).records;
  assert.equal(record!.state, 'complete');
  assert.equal(record!.reason, undefined);
  const vmcore = openSaved(store, directoryOf(record!.dir));
  assert.equal(vmcore.state, 'complete');
  assert.ok((vmcore.countPages().byCodec.zlib ?? 0) > 0, 'some pages are stored with zlib');
  assertHolds(store, directoryOf(record!.dir), machine);
});

test('a page that is not what was captured is struck, and the dump is partial', () => {
  const machine = readableMachine(3);
  const disk = formattedDisk(3);
  captureTo(machine, [disk]);
  const victim = pagesOf(machine).find((pfn) => machine.kindOf(pfn) === 'random')!;
  const at = findBytes(disk.contents, machine.truth(victim));
  disk.contents[at + 100]! ^= 1;
  const store = new MemoryStore();
  const [record] = saveFrom([disk], store).records;
  assert.equal(record!.state, 'partial');
  assert.match(record!.reason ?? '', /could not be proved/);
  const vmcore = openSaved(store, directoryOf(record!.dir));
  assert.throws(() => vmcore.readPage(victim, new Uint8Array(PAGE)), { name: 'NoDataError' });
  assertHolds(store, directoryOf(record!.dir), machine, new Set([victim]));
});

test('a copy that does not read back as it was written is no save: the device stays as it is', () => {
  const disk = formattedDisk(20);
  captureTo(readableMachine(20), [disk]);
  const store = new MemoryStore();
  store.rots = 'vmcore';
  const outcome = saveFrom([disk], store);
  assert.equal(outcome.problems[0]!.error.name, 'FormatError');
  assert.deepEqual(outcome.records, []);
  assert.equal(stateOf(disk), 'complete');
  assert.ok(store.list('').every((name) => inspectSaved(store, name) === undefined));
});

test('a bit lost in bitmap 2 gives no wrong page, and costs none: the log says what the table does not', () => {
  const machine = readableMachine(21);
  const disk = formattedDisk(21);
  captureTo(machine, [disk]);
  const { bitmap1Offset, bitmapBytes } = openDeviceDump(disk, { codecs: nodeCodecs() }).log.generation!.record;
  const bitmap2 = bitmap1Offset + bitmapBytes;
  for (const nth of [0, 1, 40]) {
    const damaged = new SimDisk({ name: 'damaged', image: disk.contents, location: disk.location });
    clearBit(damaged.contents, bitmap2, nth);
    for (const vmcore of [
      openKdump(bytesSource(damaged.contents), { codecs: nodeCodecs() }),
      openDeviceDump(damaged, { codecs: nodeCodecs() }),
    ])
      assertNoWrongPage(vmcore, machine);
    const store = new MemoryStore();
    const [record] = saveFrom([damaged], store).records;
    assert.equal(record!.pages, pagesOf(machine).length, `bit ${nth}`);
    assertHolds(store, directoryOf(record!.dir), machine);
  }
});

test('a directory that names the dump is believed only with its files in it', () => {
  const machine = readableMachine(22);
  const disk = formattedDisk(22);
  captureTo(machine, [disk]);
  const store = new MemoryStore();
  const [kept] = saveFrom([disk], store, { keep: true }).records;
  store.removeFile(`${directoryOf(kept!.dir)}/vmcore`);
  const [again] = saveFrom([disk], store).records;
  assert.equal(again!.again, false);
  assertHolds(store, directoryOf(again!.dir), machine);
});

test('an earlier save is believed only with what the device gives now, and proved once more', () => {
  const machine = readableMachine(23);
  const disk = formattedDisk(23);
  captureTo(machine, [disk]);
  const victim = pagesOf(machine).find((pfn) => machine.kindOf(pfn) === 'random')!;
  const at = findBytes(disk.contents, machine.truth(victim));
  const store = new MemoryStore();
  // A disk that does not read well in one run, and does in the next.
  disk.contents[at + 100]! ^= 1;
  const [poor] = saveFrom([disk], store, { keep: true }).records;
  assert.equal(poor!.state, 'partial');
  disk.contents[at + 100]! ^= 1;
  const [whole] = saveFrom([disk], store, { keep: true }).records;
  assert.deepEqual([whole!.state, whole!.again], ['complete', false]);
  assert.equal(saveFrom([disk], store, { keep: true }).records[0]!.dir, whole!.dir);
  // A file system that loses a bit of the finished file.
  store.flipBit(`${directoryOf(whole!.dir)}/vmcore`, 100);
  const [anew] = saveFrom([disk], store).records;
  assert.deepEqual([anew!.state, anew!.again], ['complete', false]);
  assert.notEqual(anew!.dir, whole!.dir);
  assertHolds(store, directoryOf(anew!.dir), machine);
});

test('a save that was there already names the device that it frees', () => {
  const disk = formattedDisk(24);
  captureTo(readableMachine(24), [disk]);
  const clone = new SimDisk({ name: 'clone', image: disk.contents, location: disk.location });
  const store = new MemoryStore();
  saveFrom([disk], store, { keep: true });
  const [again] = saveFrom([clone], store).records;
  assert.deepEqual([again!.again, again!.device], [true, 'clone']);
  assert.deepEqual([stateOf(clone), stateOf(disk)], ['ready', 'complete']);
});

test('two devices with one label are refused by name; paths of one device count once', () => {
  const disk = formattedDisk(25, '');
  captureTo(readableMachine(25), [disk]);
  const copyOf = (name: string): SimDisk => new SimDisk({ name, image: disk.contents, location: disk.location });
  const store = new MemoryStore();
  const twins = [disk, copyOf('twin'), copyOf('triplet')];
  const refused = saveFrom(twins, store);
  assert.deepEqual(
    refused.problems.map(({ device, error }) => [device, error.code]),
    twins.map(({ name }) => [name, 'LABEL_TWICE']),
  );
  assert.deepEqual([refused.records, store.list('')], [[], []]);
  for (const twin of twins) assert.equal(stateOf(twin), 'complete');
  // A serial number tells that two names are one disk.
  const path = formattedDisk(26);
  captureTo(readableMachine(26), [path]);
  const leg = new SimDisk({ name: 'leg', image: path.contents, location: path.location });
  const legs = saveFrom([path, leg], store);
  assert.deepEqual([legs.problems, legs.records.length, legs.freed], [[], 1, [path.name]]);
});

test('a device that cannot be formatted anew does not hide what was saved', () => {
  const disk = formattedDisk(26);
  captureTo(readableMachine(26), [disk]);
  const store = new MemoryStore();
  disk.fault = (call) => (call.kind === 'write' ? 'EIO' : undefined);
  const outcome = saveFrom([disk], store);
  assert.deepEqual([outcome.records.length, outcome.freed, outcome.problems.length], [1, [], 1]);
  disk.fault = undefined;
  const again = saveFrom([disk], store);
  assert.deepEqual([again.records.length + again.reformatted.length, stateOf(disk)], [1, 'ready']);
});

test('a store that fills up keeps nothing of what was begun', () => {
  const disk = formattedDisk(27);
  captureTo(readableMachine(27), [disk]);
  const store = new MemoryStore();
  store.onStep = () => {
    if (store.list('').some((name) => store.fileSize(`${name}/vmcore`) !== undefined)) store.capacityBytes = 0;
  };
  const outcome = saveFrom([disk], store);
  assert.deepEqual([outcome.records.length, outcome.problems[0]?.error.message.includes('ENOSPC')], [0, true]);
  assert.deepEqual(store.list(''), []);
  assert.equal(stateOf(disk), 'complete');
});

test('parts on several devices: the complete one is the vmcore, none is touched before all are safe', () => {
  const machine = readableMachine(4);
  const [first, second] = [formattedDisk(4), formattedDisk(5)];
  first.fault = (call) => (call.kind === 'write' && call.offset > 700_000 && call.offset < 2 ** 21 ? 'EIO' : undefined);
  const captured = captureTo(machine, [first, second]);
  assert.equal(captured.state, 'complete');
  assert.equal(captured.part, 2);
  first.fault = undefined;
  const store = new MemoryStore();
  const outcome = saveFrom([first, second], store);
  assert.deepEqual(outcome.problems, []);
  const [record] = outcome.records;
  const directory = directoryOf(record!.dir);
  // The simulated machine has no kernel, so no log.
  assert.deepEqual(store.list(directory).sort(), ['info.json', 'vmcore', 'vmcore.part-1']);
  assert.match(record!.logProblem ?? '', /vmcoreinfo/i);
  assertHolds(store, directory, machine);
  assert.deepEqual([stateOf(first), stateOf(second)], ['ready', 'ready']);
});

test('no crash time is told where the kernel noted none, and no date that is none', () => {
  for (const [seed, crashSeconds, told] of [
    [25, CRASH_SECONDS, new Date(CRASH_SECONDS * 1000).toISOString()],
    [26, 0, undefined],
    [27, 2 ** 52, undefined],
  ] as const) {
    const disk = formattedDisk(seed);
    captureTo(readableMachine(seed), [disk], { crashSeconds });
    const store = new MemoryStore();
    const { records, problems } = saveFrom([disk], store);
    assert.deepEqual(problems, []);
    const directory = directoryOf(records[0]!.dir);
    assert.equal(readInfo(store, directory)?.crashTime, told);
    assert.match(directory, /^127\.0\.0\.1-\d{4}-/);
  }
});

test('told to stop, it leaves the dump where it is and no half directory', () => {
  const machine = readableMachine(23);
  const disk = formattedDisk(23);
  captureTo(machine, [disk]);
  const store = new MemoryStore();
  for (const [when, left] of [
    ['copy', 0],
    ['verify', 0],
    ['format', 1],
  ] as const) {
    let stopped = false;
    const steps = saveSteps([{ device: disk }], saveOptions(store, { stopped: () => stopped }));
    let next = steps.next();
    for (; !next.done; next = steps.next()) stopped ||= next.value.step === when;
    assert.deepEqual([next.value.stopped, next.value.records.length, next.value.freed], [true, left, []], when);
    assert.equal(store.list('').length, left, when);
    assert.equal(stateOf(disk), 'complete', when);
  }
  const { records } = saveFrom([disk], store);
  assert.deepEqual([records.length, records[0]!.again, stateOf(disk)], [1, true, 'ready']);
  assertHolds(store, directoryOf(records[0]!.dir), machine);
});

test('a damaged label is not taken for none', () => {
  const disk = formattedDisk(24);
  const { label } = readLabel(disk);
  const { labelOffset } = labelGeometry(label!.identity);
  for (const at of [labelOffset, labelOffset + GEOMETRY.labelCopy2, GEOMETRY.labelCopy3]) disk.contents[at + 100]! ^= 1;
  const [problem] = saveFrom([disk], new MemoryStore()).problems;
  assert.deepEqual([problem!.error.code, problem!.error.name], ['LABEL_DAMAGED', 'NoDataError']);
});

test('too little space is refused before anything is written', () => {
  const disk = formattedDisk(6);
  captureTo(simMachine(6), [disk]);
  const store = new MemoryStore();
  store.capacityBytes = 2 ** 20;
  const outcome = saveFrom([disk], store);
  assert.equal(outcome.problems[0]!.error.code, 'NO_SPACE');
  assert.deepEqual(store.list(''), []);
  assert.equal(stateOf(disk), 'ended');
});

test('another dump of the same second gets a name of its own', () => {
  const store = new MemoryStore();
  const [one, two] = [formattedDisk(7), formattedDisk(8)];
  captureTo(simMachine(7), [one], { dump: 1 });
  captureTo(simMachine(8), [two], { dump: 2 });
  const dirs = saveFrom([one, two], store).records.map(({ dir }) => dir);
  assert.equal(dirs[1], `${dirs[0]}.2`);
});

test('each state of a device has its own end', async (t) => {
  await t.test('taken, and nothing stored: formatted anew', () => {
    const disk = formattedDisk(9);
    markInUse(disk, CAPTURE_BOOT);
    assert.deepEqual(saveFrom([disk], new MemoryStore()).reformatted, ['disk9']);
    assert.equal(stateOf(disk), 'ready');
  });
  await t.test('being written by this boot: left alone', () => {
    const disk = formattedDisk(10);
    markInUse(disk, NEXT_BOOT);
    assert.deepEqual(saveFrom([disk], new MemoryStore()).busy, ['disk10']);
    assert.equal(stateOf(disk), 'inUse');
  });
  await t.test('no label: a problem, not a byte written', () => {
    const disk = new SimDisk({ image: new Uint8Array(2 ** 20).fill(0x5a) });
    assert.equal(saveFrom([disk], new MemoryStore()).problems[0]!.error.code, 'LABEL_ABSENT');
    assert.equal(disk.journal.length, 0);
  });
  await t.test('dead: a problem, and the other device is saved', () => {
    const [dead, alive] = [formattedDisk(11), formattedDisk(12)];
    captureTo(simMachine(12), [alive]);
    dead.fault = () => 'EIO';
    const outcome = saveFrom([dead, alive], new MemoryStore());
    assert.equal(outcome.problems.length, 1);
    assert.equal(outcome.records.length, 1);
  });
  await t.test('unreadable where its dump begins: what it holds is not known, so it stays', () => {
    const disk = formattedDisk(13);
    markInUse(disk, CAPTURE_BOOT);
    disk.fault = badSector(262144);
    const { problems, reformatted } = saveFrom([disk], new MemoryStore());
    assert.equal(problems[0]!.error.code, 'DUMP_UNREADABLE');
    assert.deepEqual(reformatted, []);
    assert.equal(stateOf(disk), 'inUse');
  });
  await t.test('--keep leaves it as it is', () => {
    const disk = formattedDisk(14);
    captureTo(simMachine(14), [disk]);
    const before = disk.contents.slice();
    saveFrom([disk], new MemoryStore(), { keep: true });
    assertSameBytes(disk.contents, before);
  });
});

test('cut at any step, the next run ends with one whole directory and a ready device', () => {
  const machine = simMachine(15, 120);
  const image = formattedDisk(15);
  captureTo(machine, [image]);
  for (let step = 1; step < STEPS_MAX; step++) {
    const disk = new SimDisk({ name: 'disk15', image: image.contents, location: image.location });
    const store = new MemoryStore(step);
    const finished = saveUntilCut(disk, store, step);
    store.powerCut();
    disk.fault = undefined;
    const outcome = saveFrom([disk], store);
    assert.deepEqual(outcome.problems, [], `cut at step ${step}`);
    const dirs = store.list('');
    assert.equal(dirs.length, 1, `cut at step ${step}: ${dirs.join(' ')}`);
    assertHolds(store, dirs[0]!, machine);
    assert.equal(stateOf(disk), 'ready');
    if (finished) return;
  }
  assert.fail(`still saving after ${STEPS_MAX} steps`);
});

/** More than a save of this size takes. */
const STEPS_MAX = 500;

/** Saves until the step-th change of directory or device, counted together. True where it came to its end before. */
function saveUntilCut(disk: SimDisk, store: MemoryStore, step: number): boolean {
  let steps = 0;
  const count = (): void => {
    if (++steps === step) throw new PowerCut(`power cut at step ${step}`);
  };
  store.onStep = count;
  disk.fault = (call) => {
    if (call.kind === 'write' || call.kind === 'flush') count();
    return undefined;
  };
  try {
    saveFrom([disk], store);
    return true;
  } catch (error) {
    if (error instanceof PowerCut) return false;
    throw error;
  } finally {
    store.onStep = undefined;
  }
}
