import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { missedCrashes, readTriggers, setTriggers, TRIGGER_RULES } from './triggers.ts';

test('what is off is missed, what is set stays, what is absent is passed over', () => {
  const root = mkdtempSync(join(tmpdir(), 'diskdump-triggers-'));
  try {
    for (const folder of ['kernel', 'vm']) mkdirSync(join(root, 'proc/sys', folder), { recursive: true });
    for (const { name } of TRIGGER_RULES) writeFileSync(join(root, 'proc/sys', name.replace('.', '/')), '0\n');
    writeFileSync(join(root, 'proc/sys/kernel/panic'), '-1\n');
    writeFileSync(join(root, 'proc/sys/kernel/sysrq'), '438\n');
    writeFileSync(join(root, 'proc/sys/vm/panic_on_oom'), '2\n');
    rmSync(join(root, 'proc/sys/kernel/hardlockup_panic'));
    const before = readTriggers(root);
    const ok = (name: string): boolean | undefined => before.find((trigger) => trigger.name === name)?.ok;
    assert.equal(ok('kernel.panic'), true, 'rebooting at once is as good');
    assert.equal(ok('kernel.sysrq'), false, '438 lacks the bit for dumps');
    assert.equal(ok('vm.panic_on_oom'), true);
    assert.equal(missedCrashes(before).length, 6);
    assert.ok(missedCrashes(before).some((line) => line.includes('kernel.hardlockup_panic is not in this kernel')));
    assert.deepEqual(setTriggers(root), [
      'kernel.panic_on_oops',
      'kernel.sysrq',
      'kernel.unknown_nmi_panic',
      'kernel.softlockup_panic',
      'kernel.hung_task_panic',
    ]);
    assert.equal(readFileSync(join(root, 'proc/sys/kernel/panic'), 'utf8'), '-1\n');
    assert.equal(missedCrashes(readTriggers(root)).length, 1);
    assert.deepEqual(setTriggers(root), []);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
