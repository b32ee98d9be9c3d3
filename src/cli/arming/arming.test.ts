import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { sparseFile } from '../../../test/driver/scratch.ts';
import { runCli } from '../../../test/support/terminal.ts';
import {
  encodeIdentity,
  type LabelIdentity,
  labelGeometry,
  planGeometry,
  readyLabel,
} from '../../format/kdump/label.ts';
import { decodeLogAreaHeader } from '../../format/kdump/log-area.ts';
import { parseConfig } from '../../host/config.ts';
import type { KexecState } from '../../host/kexec.ts';
import { forecastMemory } from '../../host/memory-budget.ts';
import { parseStage1Config } from '../../stage1/config.ts';
import { deviceProblems, stage1Config } from './arm.ts';
import { checkAgainstConfig, type InspectedDevice, inspectDevices } from './devices.ts';
import { planParts } from './log-area.ts';
import { findMachineProblems, findUncatchable, isVirtualMachine } from './machine.ts';
import { formatProc } from './proc.ts';
import { armDocument, armLines } from './render.ts';
import { tryRuntime } from './runtime.ts';

const KEXEC: KexecState = {
  supported: true,
  loaded: false,
  reservedBytes: 192 * 2 ** 20,
  disabled: false,
  lockdown: 'none',
};
const VIEW = { kexec: KEXEC, isRoot: true, loadedByUs: false, otherKdump: [], replace: false };
const codes = (view: Partial<typeof VIEW>): string[] =>
  findMachineProblems({ ...VIEW, ...view }).map(({ code }) => code);

test('each obstacle is named with what removes it', () => {
  assert.deepEqual(codes({}), []);
  assert.deepEqual(codes({ kexec: { ...KEXEC, reservedBytes: 0 } }), ['NO_RESERVATION']);
  assert.deepEqual(codes({ kexec: { ...KEXEC, supported: false, reservedBytes: 0 } }), ['NO_KEXEC']);
  assert.deepEqual(codes({ kexec: { ...KEXEC, disabled: true } }), ['KEXEC_DISABLED']);
  assert.deepEqual(codes({ kexec: { ...KEXEC, lockdown: 'integrity' } }), ['LOCKDOWN']);
  assert.deepEqual(codes({ isRoot: false }), ['NOT_ROOT']);
  const all = findMachineProblems({
    ...VIEW,
    isRoot: false,
    kexec: { supported: true, loaded: true, reservedBytes: 0, disabled: true, lockdown: 'confidentiality' },
  });
  assert.equal(all.length, 5);
  assert.ok(all.every(({ hint }) => hint !== undefined));
});

test("another tool's capture kernel stands in the way, unless it is to be replaced", () => {
  const kexec = { ...KEXEC, loaded: true };
  const [problem] = findMachineProblems({ ...VIEW, kexec, otherKdump: ['kdump-tools.service'] });
  assert.equal(problem?.level, 'error');
  assert.match(problem?.text ?? '', /by kdump-tools\.service/);
  assert.equal(problem?.hint, 'systemctl disable --now kdump-tools.service');
  assert.deepEqual(codes({ kexec, replace: true }), []);
  assert.deepEqual(codes({ kexec, loadedByUs: true }), []);
  const enabled = findMachineProblems({ ...VIEW, otherKdump: ['kdump.service'] });
  assert.deepEqual(
    enabled.map(({ code, level }) => [code, level]),
    [['OTHER_KDUMP', 'warning']],
  );
});

test('a file in the list is named as one, and nobody is sent to format it', () => {
  withFolder((folder) => {
    const file = join(folder, 'disk.img');
    writeFileSync(file, '');
    const inspected = inspectDevices([file]);
    assert.equal(inspected[0]?.state, 'unformatted');
    const [warning, error] = deviceProblems(inspected);
    assert.equal(warning?.text, `${file}: it is a file, which serves only to try \`diskdump capture --to\``);
    assert.match(warning?.hint ?? '', /name a disk or a partition/);
    assert.equal(error?.code, 'NO_DEVICE');
    assert.doesNotMatch(error?.hint ?? '', /disk\.img/);
  });
  const unformatted: InspectedDevice = { path: '/dev/vdb', state: 'unformatted', problems: [], id: ID };
  assert.equal(deviceProblems([unformatted]).at(-1)?.hint, 'diskdump format /dev/vdb');
});

test('a file with a label shows its state, and that stage 1 cannot find it', async () => {
  const file = sparseFile(16 * 2 ** 20);
  const formatted = await runCli('format', file, '--for-ram', '1M', '--log-area', '64K', '--sample-rate', '4');
  assert.equal(formatted.code, 0, formatted.err);
  const [found] = inspectDevices([file]);
  assert.equal(found?.state, 'ready');
  assert.equal(found?.uuid, /label (\S+):/.exec(formatted.out)?.[1]);
  assert.deepEqual(found?.problems, ['it is a file, which serves only to try `diskdump capture --to`']);
  // Stage 1 could not use it: it is no device to arm for.
  assert.deepEqual([found?.id, found?.label], [undefined, undefined]);
  assert.equal(deviceProblems([found!]).at(-1)?.code, 'NO_DEVICE');
});

test('a path that is not there is said in words', () => {
  const [found] = inspectDevices(['/nonexistent/disk']);
  assert.deepEqual([found?.state, found?.problems], ['unreadable', ['it is not there']]);
  assert.match(found?.hint ?? '', /is the path right/);
});

test('no device at all is an error of its own; one that may not be opened is not called unfit', () => {
  assert.deepEqual(
    deviceProblems([]).map(({ code, level }) => [code, level]),
    [['NO_DEVICES', 'error']],
  );
  const denied: InspectedDevice = { path: '/dev/vdb', state: 'unreadable', problems: ['denied'], denied: true };
  assert.deepEqual(
    deviceProblems([denied]).map(({ code }) => code),
    ['DEVICE'],
  );
});

test('what cannot be caught depends on the machine', () => {
  const guest = findUncatchable({ hasWatchdog: true, isVirtual: true }).join('\n');
  assert.match(guest, /triple fault/);
  assert.doesNotMatch(guest, /watchdog|machine check/);
  const metal = findUncatchable({ hasWatchdog: false, isVirtual: false }).join('\n');
  assert.match(metal, /watchdog/);
  assert.match(metal, /machine check/);
});

test('a hypervisor shows in the CPU flags', () => {
  withFolder((folder) => {
    writeFileSync(join(folder, 'cpuinfo'), 'processor\t: 0\nflags\t\t: fpu sse hypervisor lahf_lm\n');
    assert.equal(isVirtualMachine(join(folder, 'cpuinfo')), true);
    writeFileSync(join(folder, 'cpuinfo'), 'processor\t: 0\nmodel name\t: hypervisor\nflags\t\t: fpu sse\n');
    assert.equal(isVirtualMachine(join(folder, 'cpuinfo')), false);
  });
});

test('the configuration of stage 1 is one that stage 1 reads', async () => {
  const config = await parseConfig('compress = "zlib"\n[timeouts]\ndevice_wait = 5', 'x.toml');
  const unformatted: InspectedDevice = { path: '/dev/vda', state: 'unformatted', problems: ['no label'], id: ID };
  const unreadable: InspectedDevice = { path: '/dev/vdc', state: 'unreadable', problems: ['EIO'] };
  const read = parseStage1Config(JSON.stringify(stage1Config(config, [unformatted, device('/dev/vdb'), unreadable])));
  assert.deepEqual(
    read.devices.map(({ path, uuid }) => [path, uuid]),
    [
      ['/dev/vda', '00000000-0000-0000-0000-000000000000'],
      ['/dev/vdb', UUID],
    ],
  );
  assert.equal(read.compress, 'zlib');
  assert.equal(read.deviceWaitMs, 5000);
  assert.equal(read.deviceTimeoutMs, 30_000);
});

test('a configuration that differs from a label is refused; defaults are no statement', async () => {
  const devices = [device('/dev/vdb')];
  checkAgainstConfig(devices, await parseConfig('', 'x.toml'), 'x.toml');
  checkAgainstConfig(devices, await parseConfig('sample_rate = 4', 'x.toml'), 'x.toml');
  for (const toml of ['sample_rate = 8', 'block_order = 1', 'log_area_kib = 64']) {
    const config = await parseConfig(toml, 'x.toml');
    assert.throws(() => checkAgainstConfig(devices, config, 'x.toml'), {
      code: 'CONFIG_DIFFERS',
      message: /^x\.toml: /,
    });
  }
});

test('two disks with one label are refused, two ways to one disk are not', async () => {
  const config = await parseConfig('', 'x.toml');
  const other = { ...device('/dev/vdc'), id: { ...ID, serial: 'other' } };
  assert.throws(() => checkAgainstConfig([device('/dev/vdb'), other], config, 'x'), {
    code: 'DEVICE_TWICE',
    message: /\/dev\/vdb and \/dev\/vdc/,
  });
  checkAgainstConfig([device('/dev/vdb'), device('/dev/sdb')], config, 'x');
});

test('log area: header, ranges and each place; a device whose area is too small is left out', () => {
  const log = {
    release: '6.12.1',
    vmcoreinfo: new TextEncoder().encode('OSRELEASE=6.12.1\n'),
    memory: [
      { name: 'prb', vaddr: 0xffffffff82001008n, paddr: 0x2001008, length: 8 },
      { name: 'data', vaddr: 0xffff888000100000n, paddr: 0x100000, length: 131072 },
    ],
  };
  const small = device('/dev/vdc', 65536);
  const { files, devices, problems } = planParts([small, device('/dev/vdb')], log);
  const file = (path: string): Uint8Array =>
    files.find((entry) => entry.path === `etc/diskdump/log-area/${path}`)!.bytes;
  const text = (path: string): string => new TextDecoder().decode(file(path));
  assert.equal(devices, 1);
  assert.match(problems[0]?.text ?? '', /^\/dev\/vdc: its log area has 65536 bytes/);
  const header = decodeLogAreaHeader(file('header'), 2 ** 20);
  assert.equal(header?.release, '6.12.1');
  assert.equal(text('ranges'), `${0x2001000} 4096 65536\n${0x100000} 131072 69632\n`);
  const { identity } = device('/dev/vdb').label!;
  const { labelOffset, logAreaOffset } = labelGeometry(identity);
  assert.equal(text('device-1/place'), `SIZE=${SIZE}\nSTART=1048576\nLABEL=${labelOffset}\nAREA=${logAreaOffset}\n`);
  assert.deepEqual(file('device-1/identity'), encodeIdentity(identity));
  assert.equal(files.length, 4);
});

test('/proc/diskdump as it was printed', async () => {
  const config = await parseConfig('compress = "zstd"\nfinal_action = "halt"', 'x.toml');
  const lines = formatProc(config, [{ name: 'sde1', startSector: 514080, sectorCount: 1012095 }], 261909);
  assert.deepEqual(lines, [
    '# sample_rate: 8',
    '# block_order: 2',
    '# fallback_on_err: 1',
    '# halt_on_err: 1',
    '# allow_risky_dumps: 1',
    '# dump_level: 1',
    '# compress: 1',
    '# total_blocks: 261909',
    '#',
    'sde1 514080 1012095',
  ]);
});

test('total_blocks is the number that format prints', async () => {
  const proc = (await runCli('status', '--proc')).out;
  const { out } = await runCli('format', '--dry-run', sparseFile(2 ** 30));
  assert.equal(/total_blocks: (\d+)/.exec(proc)?.[1], /total blocks required: (\d+)/.exec(out)?.[1]);
});

test('WebAssembly runs where these tests do', async () => {
  assert.ok((await tryRuntime(undefined)).every(({ code }) => code !== 'WASM'));
});

test('a document has every field of the contract, and people get lines', () => {
  const budget = forecastMemory({
    reservedBytes: 192 * 2 ** 20,
    kernelBytes: 4e7,
    initramfsBytes: 4.5e7,
    moduleBytes: 1e6,
  });
  const result = {
    armed: true,
    machine: { bootId: '', release: '6.12.1', version: '', memorySha256: '', cpus: '0', followsHotplug: false },
    reservedBytes: 192 * 2 ** 20,
    budget,
    commandLine: 'console=ttyS0',
    devices: [device('/dev/vdb')],
    triggers: [{ name: 'kernel.panic_on_oops', value: 0, wanted: 1, ok: false }],
    problems: [{ code: 'NO_WATCHDOG', level: 'warning', text: 'no watchdog', hint: 'add one' }],
  } as const;
  const document = armDocument(result);
  assert.equal(document.schema, 'diskdump.status/1');
  assert.equal(document.spareBytes, budget.spareBytes);
  assert.deepEqual(document.devices, [{ path: '/dev/vdb', uuid: UUID, state: 'ready', problems: [] }]);
  assert.deepEqual(document.triggers, { 'kernel.panic_on_oops': { value: 0, wanted: 1, ok: false } });
  const lines = armLines(result, false);
  assert.equal(lines[0], 'armed: a panic of 6.12.1 leaves a dump');
  assert.ok(lines.includes('warning: no watchdog'));
  assert.ok(lines.includes('  hint: add one'));
});

const SIZE = 64 * 2 ** 20;
const UUID = '00010203-0405-0607-0809-0a0b0c0d0e0f';
const ID = { serial: 'disk', wwid: '', bus: 'devices/pci/block', start: 2 ** 20, size: SIZE };

function device(path: string, logAreaBytes = 2 ** 20): InspectedDevice {
  const identity: LabelIdentity = {
    uuid: Uint8Array.from({ length: 16 }, (_, i) => i),
    start: 2 ** 20,
    deviceSize: SIZE,
    logicalBlock: 512,
    sampleRate: 4,
    blockOrder: 2,
    signatureAdd: 7,
    logAreaBytes,
    capacity: planGeometry(SIZE, { logAreaBytes }).capacity,
    machineId: new Uint8Array(16),
    serial: 'disk',
    formattedMs: 0,
  };
  return { path, uuid: UUID, state: 'ready', problems: [], id: ID, label: readyLabel(identity, 1, 0) };
}

function withFolder(use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'diskdump-arming-'));
  try {
    use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
