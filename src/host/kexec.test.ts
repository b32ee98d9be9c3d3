import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  captureCommandLine,
  findKernelImage,
  findKexec,
  findOtherKdump,
  loadCrashKernel,
  parseLockdown,
  readKexecState,
  unloadCrashKernel,
} from './kexec.ts';

let root: string;

before(() => {
  root = mkdtempSync(join(tmpdir(), 'diskdump-kexec-'));
});

after(() => rmSync(root, { recursive: true, force: true }));

const DIGESTS = { runtimeSha256: 'a'.repeat(64), armedSha256: 'b'.repeat(64) };
const PLAN = { kernel: '/boot/vmlinuz', initramfs: '/initramfs', commandLine: 'console=ttyS0' };

test("the first kernel's consoles, the fixed words, the digests, then the configuration's", () => {
  const firstKernel = 'BOOT_IMAGE=/vmlinuz root=/dev/vda1 console=tty0 quiet console=ttyS0,115200 crashkernel=192M';
  assert.equal(
    captureCommandLine({ ...DIGESTS, firstKernel, append: ' nomodeset  maxcpus=1 ' }),
    `console=tty0 console=ttyS0,115200 nr_cpus=1 reset_devices irqpoll panic=5 rootfstype=ramfs diskdump.runtime=${DIGESTS.runtimeSha256} ` +
      `diskdump.armed=${DIGESTS.armedSha256} nomodeset maxcpus=1`,
  );
});

test('a command line that the kernel would cut is refused', () => {
  assert.throws(() => captureCommandLine({ ...DIGESTS, firstKernel: '', append: 'x'.repeat(1800) }), {
    code: 'COMMAND_LINE_LENGTH',
  });
});

test('state: loaded, both parts of the reservation, disabled, lockdown', () => {
  assert.equal(readKexecState(root).supported, false);
  write('sys/kernel/kexec_crash_loaded', '1\n');
  write('sys/kernel/kexec_crash_size', `${0x10000000}\n`);
  write('proc/iomem', '  0f000000-0fffffff : Crash kernel\n100000000-10fffffff : Crash kernel\n');
  write('proc/sys/kernel/kexec_load_disabled', '0\n');
  write('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n');
  assert.deepEqual(readKexecState(root), {
    supported: true,
    loaded: true,
    reservedBytes: 0x11000000,
    disabled: false,
    lockdown: 'integrity',
  });
  write('proc/iomem', '  00000000-00000000 : Crash kernel\n');
  write('proc/sys/kernel/kexec_load_limit_panic', '0\n');
  const hidden = readKexecState(root);
  assert.equal(hidden.reservedBytes, 0x10000000);
  assert.equal(hidden.disabled, true);
});

test('a kernel without kexec has nothing', () => {
  assert.deepEqual(readKexecState(join(root, 'absent')), {
    supported: false,
    loaded: false,
    reservedBytes: 0,
    disabled: false,
    lockdown: 'none',
  });
  assert.equal(parseLockdown('[none] integrity confidentiality'), 'none');
  assert.equal(parseLockdown('none integrity [confidentiality]'), 'confidentiality');
});

test('the running kernel’s image is found in /boot, or beside its modules', () => {
  write('usr/lib/modules/6.1.0/vmlinuz', '');
  assert.equal(findKernelImage('6.1.0', root), join(root, 'usr/lib/modules/6.1.0/vmlinuz'));
  write('boot/vmlinuz-6.1.0', '');
  assert.equal(findKernelImage('6.1.0', root), join(root, 'boot/vmlinuz-6.1.0'));
  assert.throws(() => findKernelImage('6.2.0', root), { code: 'KERNEL_IMAGE_MISSING' });
});

test('the file call is asked first, the old call when it fails', () => {
  const log = join(root, 'calls');
  const tool = program(`echo "$@" >> ${log}; exit 0`);
  assert.equal(loadCrashKernel(PLAN, tool), 'kexec_file_load');
  const picky = program(`echo "$@" >> ${log}; [ "$1" = -c ] || { echo 'syscall not available' >&2; exit 1; }`);
  assert.equal(loadCrashKernel(PLAN, picky), 'kexec_load');
  const [first, second, third] = readFileSync(log, 'utf8').split('\n');
  assert.equal(first, '-s -p /boot/vmlinuz --initrd=/initramfs --command-line=console=ttyS0');
  assert.equal(second, first);
  assert.equal(third, '-c -p /boot/vmlinuz --initrd=/initramfs --command-line=console=ttyS0');
});

test('when both fail, both are quoted, and Secure Boot gets its hint', () => {
  const tool = program(`echo "kexec_file_load failed: Operation not permitted" >&2; exit 255`);
  assert.throws(() => loadCrashKernel(PLAN, tool), {
    code: 'KEXEC_FAILED',
    message: /file_load failed: Operation not permitted; with the older call: /,
    hint: /signed/,
  });
  assert.throws(() => unloadCrashKernel(tool), { code: 'KEXEC_FAILED' });
});

test('without kexec-tools the package is named', () => {
  assert.throws(() => findKexec([]), { code: 'TOOL_MISSING', hint: 'apt install kexec-tools' });
});

test('an enabled kdump service is named', () => {
  assert.deepEqual(findOtherKdump(root), []);
  write('etc/systemd/system/multi-user.target.wants/kdump-tools.service', '');
  assert.deepEqual(findOtherKdump(root), ['kdump-tools.service']);
});

function program(body: string): string {
  const path = join(root, `kexec-${Math.random()}`);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
  return path;
}

function write(path: string, content: string): void {
  mkdirSync(join(root, dirname(path)), { recursive: true });
  writeFileSync(join(root, path), content);
}
