import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type ArmedState,
  findStaleness,
  type MachineFacts,
  readArmedState,
  readMachineFacts,
  removeArmedState,
  sha256,
  writeArmedState,
} from './arm-state.ts';
import { forecastMemory } from './memory-budget.ts';

let root: string;
let state: ArmedState;
let machine: MachineFacts;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-state-'));
  write('proc/sys/kernel/random/boot_id', '7c0de5a2-0000-4000-8000-000000000001\n');
  write('proc/sys/kernel/osrelease', '6.12.1-amd64\n');
  write('proc/sys/kernel/version', '#1 SMP Debian\n');
  write(
    'proc/iomem',
    '00001000-0009ffff : System RAM\n00100000-3fffffff : System RAM\n  01000000-01ffffff : Kernel code\n',
  );
  write('sys/devices/system/cpu/present', '0-3\n');
  write('vmlinuz', 'kernel');
  write('initramfs', 'initramfs');
  machine = readMachineFacts(root);
  state = {
    schema: 'diskdump.armed/1',
    armedMs: 1,
    machine,
    kernelImage: { path: join(root, 'vmlinuz'), sha256: sha256('kernel') },
    initramfs: { path: join(root, 'initramfs'), sha256: sha256('initramfs'), bytes: 9 },
    runtime: { path: 'x', sha256: sha256('x') },
    config: { sha256: sha256('') },
    commandLine: 'console=ttyS0',
    call: 'kexec_file_load',
    devices: [],
    budget: forecastMemory({ reservedBytes: 2 ** 28, kernelBytes: 4e7, initramfsBytes: 4e7, moduleBytes: 0 }),
    logAreas: 0,
  };
});

after(() => rmSync(root, { recursive: true, force: true }));

const stale = (now: Partial<MachineFacts>, config = sha256('')): string[] =>
  findStaleness(state, { ...machine, ...now }, config).map(({ what }) => what);

test('nothing changed: nothing is stale', () => assert.deepEqual(stale({}), []));

test('boot, kernel, memory, CPUs, configuration', () => {
  assert.deepEqual(stale({ bootId: 'other' }), ['boot']);
  assert.deepEqual(stale({ version: '#2 SMP Debian' }), ['kernel']);
  assert.deepEqual(stale({ memorySha256: 'other' }), ['memory']);
  assert.deepEqual(stale({ cpus: '0-4' }), ['cpus']);
  assert.deepEqual(stale({}, sha256('changed')), ['config']);
});

test('a kernel that follows hotplug itself needs no new arming for it', () => {
  assert.deepEqual(stale({ memorySha256: 'other', cpus: '0-4', followsHotplug: true }), []);
});

test('hidden addresses prove nothing', () => assert.deepEqual(stale({ memorySha256: '' }), []));

test('replaced files', () => {
  write('initramfs', 'another');
  write('vmlinuz', 'another');
  assert.deepEqual(stale({}), ['kernel', 'initramfs']);
});

test('only the map of memory counts, not what lies in it', () => {
  write('proc/iomem', '00001000-0009ffff : System RAM\n00100000-3fffffff : System RAM\n');
  assert.equal(readMachineFacts(root).memorySha256, machine.memorySha256);
  write('proc/iomem', '00001000-0009ffff : System RAM\n00100000-4fffffff : System RAM\n');
  assert.notEqual(readMachineFacts(root).memorySha256, machine.memorySha256);
});

test('what is written reads back; damage and absence are no state', () => {
  const paths = [join(root, 'run/armed.json'), join(root, 'kept/armed.json')];
  writeArmedState(state, paths);
  for (const path of paths) assert.deepEqual(readArmedState(path), state);
  writeFileSync(paths[0] as string, '{"schema":"diskdump.armed/1"');
  assert.equal(readArmedState(paths[0]), undefined);
  writeFileSync(paths[0] as string, '{"schema":"diskdump.armed/2"}');
  assert.equal(readArmedState(paths[0]), undefined);
  removeArmedState(paths);
  assert.equal(readArmedState(paths[1]), undefined);
});

function write(path: string, content: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), content);
}
