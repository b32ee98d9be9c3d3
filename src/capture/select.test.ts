import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formattedDisk, simCapture, simUuid, staleDisk } from '../../test/sim/rig.ts';
import { SimDisk } from '../../test/sim/sim-disk.ts';
import { simMachine } from '../../test/sim/sim-machine.ts';
import { assertSameBytes } from '../../test/support/assert-bytes.ts';
import { formatDevice, planFormat } from '../format/kdump/device-format.ts';
import { readLabel, writeLabelState } from '../format/kdump/label.ts';
import { planSignatureBlocks } from '../format/kdump/signature.ts';
import type { CaptureOptions, CaptureResult } from './capture.ts';

const SIZE = 2 * 2 ** 20;
const machine = simMachine(11, 60, false);

/** Captures to one device and says why it was refused; a refused device must not have changed by a byte. */
function refusal(disk: SimDisk, options: Partial<CaptureOptions> = {}): string {
  const before = disk.contents.slice();
  const result = simCapture(machine, [disk], options);
  assert.equal(result.outcome, 'no-device');
  assertSameBytes(disk.contents, before, 'the bytes of a device that was refused');
  assert.equal(result.refused.length, 1);
  return `${result.refused[0]?.code}: ${result.refused[0]?.message}`;
}

function changed(disk: SimDisk, change: (bytes: Uint8Array) => void): SimDisk {
  const image = disk.contents.slice();
  change(image);
  return new SimDisk({ image });
}

function inState(state: 'ready' | 'inUse' | 'ended' | 'complete' | 'saved', bootId: Uint8Array): SimDisk {
  const disk = formattedDisk(SIZE);
  const label = readLabel(disk).label;
  assert.ok(label);
  writeLabelState(disk, label, { state, bootId, dumpUuid: simUuid(77), part: 1 });
  return disk;
}

test('nothing is written where no label is', () => {
  assert.match(refusal(new SimDisk({ image: new Uint8Array(SIZE) })), /^DEVICE_NOT_OURS: sim has no label of diskdump/);
  const noise = new Uint8Array(SIZE).map((_, i) => (i * 2654435761) >>> 24);
  assert.match(refusal(new SimDisk({ image: noise })), /^DEVICE_NOT_OURS/);
  assert.match(refusal(new SimDisk({ image: new Uint8Array(65536) })), /^DEVICE_NOT_OURS: .*too small/);
});

test('foreign data in block 0 or in a signature block refuse the device', () => {
  const disk = formattedDisk(SIZE);
  const ext4 = changed(disk, (bytes) => bytes.set([0x53, 0xef, 1, 2, 3, 4, 5, 6], 0));
  assert.match(refusal(ext4), /^DEVICE_FOREIGN_DATA: sim begins with foreign data 53ef010203040506/);
  const { identity } = readLabel(disk).label ?? assert.fail();
  const blocks = [...planSignatureBlocks(identity.uuid, identity.capacity, identity.sampleRate)];
  const overwritten = changed(disk, (bytes) =>
    bytes.fill(0xaa, (blocks[5] as number) * 4096 + 100, (blocks[5] as number) * 4096 + 101),
  );
  assert.match(refusal(overwritten), /^DEVICE_SIGNATURE/);
});

test('a label of another device, another place or another machine refuses', () => {
  const disk = formattedDisk(SIZE);
  const moved = new SimDisk({ image: disk.contents, location: { start: 2 ** 20, serial: 'SIM0001' } });
  assert.match(refusal(moved), /^DEVICE_IDENTITY: .*starts at/);
  const cloned = new SimDisk({ image: disk.contents, location: { start: 0, serial: 'OTHER' } });
  assert.match(refusal(cloned), /^DEVICE_IDENTITY: .*copy of another disk/);
  const grown = new Uint8Array(SIZE + 65536);
  grown.set(disk.contents);
  grown.copyWithin(SIZE, SIZE - 65536, SIZE);
  assert.match(refusal(new SimDisk({ image: grown })), /^DEVICE_IDENTITY: .*resized/);
  assert.match(refusal(disk, { devices: [{ name: 'sim', uuid: simUuid(9) }] }), /^DEVICE_OTHER_LABEL/);
  const strangers = formattedDisk(SIZE);
  const plan = planFormat(strangers, {
    uuid: simUuid(3),
    nowMs: 0,
    sampleRate: 4,
    logAreaBytes: 65536,
    machineId: simUuid(4),
  });
  formatDevice(strangers, plan);
  assert.match(refusal(strangers, { machineId: simUuid(5) }), /^DEVICE_OTHER_MACHINE/);
  assert.equal(simCapture(machine, [strangers], { machineId: simUuid(4) }).outcome, 'complete');
});

test('an unsaved dump is never overwritten', () => {
  for (const state of ['ended', 'complete'] as const)
    assert.match(refusal(inState(state, new Uint8Array(16))), /^DEVICE_UNSAVED: sim holds dump .* not saved yet/);
  const disk = formattedDisk(SIZE);
  assert.equal(simCapture(machine, [disk], { seed: 1 }).outcome, 'complete');
  assert.match(refusal(disk, { bootId: simUuid(1) }), /^DEVICE_UNSAVED/);
  // In use by another boot, with a good start and good chunks.
  const label = readLabel(disk).label ?? assert.fail();
  writeLabelState(disk, label, { state: 'inUse' });
  assert.match(refusal(disk, { bootId: simUuid(1) }), /^DEVICE_UNSAVED/);
});

test('ready, saved, and in use without a good record are taken', () => {
  for (const state of ['ready', 'saved', 'inUse'] as const)
    assert.equal(simCapture(machine, [inState(state, simUuid(8))]).outcome, 'complete', state);
  // Saved, then panic before re-formatting: signatures are overwritten by the dump, and not needed.
  assert.equal(simCapture(machine, [staleDisk(simMachine(12), SIZE, false)]).outcome, 'complete');
});

test('only a log of this boot with equal notes is resumed; never by another kind of machine', () => {
  const disk = formattedDisk(SIZE);
  killInMidDump(disk);
  const killed = disk.contents.slice();
  const again = (
    image: Uint8Array,
    options: Partial<CaptureOptions> & { seed?: number },
    onto = machine,
  ): CaptureResult => simCapture(onto, [new SimDisk({ image })], options);
  assert.deepEqual(outcome(again(killed, { seed: 3 })), ['complete', true]);
  assert.deepEqual(outcome(again(killed, { seed: 3, bootId: simUuid(1) })), ['no-device', false]);
  assert.deepEqual(outcome(again(killed, { seed: 3, bootId: new Uint8Array(16) })), ['no-device', false]);
  assert.deepEqual(outcome(again(killed, { seed: 3 }, { ...machine, kind: 'guest' })), ['no-device', false]);
  assert.deepEqual(outcome(again(killed, { seed: 3 }, { ...machine, notes: simMachine(13).notes })), [
    'no-device',
    false,
  ]);
  const { uuid } = (readLabel(disk).label ?? assert.fail()).identity;
  assert.match(
    refusal(new SimDisk({ image: killed }), { bootId: simUuid(503), tried: new Set([text(uuid)]) }),
    /^DEVICE_TRIED/,
  );
});

test('of several logs of this boot the last in the list goes on', () => {
  const [one, two] = ['SIM1', 'SIM2'].map((serial, i) => {
    const disk = formattedDisk(SIZE, { name: serial, uuid: i + 1, location: { start: 0, serial } });
    killInMidDump(disk);
    return disk;
  }) as [SimDisk, SimDisk];
  const result = simCapture(machine, [one, two], { seed: 3 });
  assert.deepEqual([result.device, result.resumed, result.outcome], ['SIM2', true, 'complete']);
});

test('two different devices with one UUID are refused by name; paths of one device count once', () => {
  const disk = formattedDisk(SIZE);
  const legs = [disk, new SimDisk({ name: 'leg', image: disk.contents })];
  const finder = (found: readonly SimDisk[]) => ({ find: () => found });
  const options = { devices: [{ name: 'dump' }] };
  const twin = new SimDisk({ name: 'twin', image: disk.contents, location: { start: 0, serial: 'SIM0002' } });
  const refused = simCapture(machine, [], { ...options, finder: finder([disk, twin]) });
  assert.equal(refused.outcome, 'no-device');
  assert.match(`${refused.refused[0]?.code} ${refused.refused[0]?.message}`, /^DEVICE_UUID_TWICE .*twin.*SIM0001/);
  assert.equal(simCapture(machine, [], { ...options, finder: finder(legs) }).outcome, 'complete');
});

test('a copy named by a later entry is noticed before a byte is written; a third device takes the dump', () => {
  const [disk, third] = [formattedDisk(SIZE), formattedDisk(SIZE, { name: 'third', uuid: 3 })];
  const twin = new SimDisk({ name: 'twin', image: disk.contents, location: { start: 0, serial: 'SIM0002' } });
  const before = disk.contents.slice();
  const result = simCapture(machine, [disk, twin, third], { resume: false });
  assert.deepEqual(
    result.refused.map(({ device, code }) => [device, code]),
    [
      ['twin', 'DEVICE_UUID_TWICE'],
      [disk.name, 'DEVICE_UUID_TWICE'],
    ],
  );
  assert.deepEqual([result.device, result.outcome], ['third', 'complete']);
  for (const { contents } of [disk, twin]) assertSameBytes(contents, before);
});

test('a device that appears late is waited for, and then no longer', () => {
  const early = formattedDisk(SIZE, { name: 'early', uuid: 2 });
  const run = (appearsMs: number): CaptureResult & { late: SimDisk } => {
    const late = formattedDisk(SIZE, { name: 'late' });
    let nowMs = 0;
    const result = simCapture(machine, [], {
      devices: [{ name: 'late' }, { name: 'early' }],
      finder: {
        find: ({ name }) =>
          name === 'early' ? [new SimDisk({ name, image: early.contents })] : nowMs >= appearsMs ? [late] : [],
      },
      wait: (ms) => {
        nowMs += ms;
      },
      supervisor: {
        clock: { monotonicMs: () => nowMs, wallMs: () => nowMs },
        progress: () => {},
        cancelled: () => undefined,
      },
    });
    return { ...result, late };
  };
  assert.equal(run(19_000).device, 'late');
  const gone = run(21_000);
  assert.deepEqual([gone.device, gone.refused[0]?.code], ['early', 'DEVICE_NOT_FOUND']);
});

test('an image other than the armed one is said, and no reason to refuse', () => {
  const disk = formattedDisk(SIZE);
  const label = readLabel(disk).label ?? assert.fail();
  writeLabelState(disk, label, { armedDigest: new Uint8Array(32).fill(1) });
  const events: string[] = [];
  const result = simCapture(machine, [disk], { tell: (event) => events.push(event) });
  assert.equal(result.outcome, 'complete');
  assert.ok(events.some((event) => event.includes('armed with another image')));
});

function killInMidDump(disk: SimDisk): void {
  const supervisor = {
    clock: { monotonicMs: () => 0, wallMs: () => 0 },
    progress: ({ storedPages }: { readonly storedPages: number }) => {
      if (storedPages > 30) throw new Error('killed');
    },
    cancelled: () => undefined,
  };
  assert.throws(() => simCapture(machine, [disk], { seed: 3, supervisor }), /killed/);
}

function outcome(result: CaptureResult): [string, boolean] {
  return [result.outcome, result.resumed];
}

function text(uuid: Uint8Array): string {
  const digits = Buffer.from(uuid).toString('hex');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
