/** The kernel's settings that decide which failures become a panic, and so a dump. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** One setting under /proc/sys. */
export interface TriggerRule {
  /** As `sysctl` calls it. */
  readonly name: string;
  /** What `arm --triggers` writes. */
  readonly wanted: number;
  /** Whether a value found is as good. */
  readonly accepts: (value: number) => boolean;
  /** What leaves no dump while it is not accepted. */
  readonly missed: string;
}

/** A rule and what this machine has. */
export interface Trigger {
  readonly name: string;
  /** Absent where this kernel does not have the setting. */
  readonly value?: number;
  readonly wanted: number;
  readonly ok: boolean;
}

const on = (value: number): boolean => value === 1;

/** Source: Linux 6.12 `Documentation/admin-guide/sysctl/kernel.rst` and `vm.rst`. */
export const TRIGGER_RULES: readonly TriggerRule[] = [
  {
    name: 'kernel.panic_on_oops',
    wanted: 1,
    accepts: on,
    missed: 'an oops in a process: it is killed, the machine goes on',
  },
  {
    name: 'kernel.sysrq',
    wanted: 1,
    // Bit 3: "enable debugging dumps of processes etc.", which covers the crash key.
    accepts: (value) => value === 1 || (value & 8) !== 0,
    missed: 'a crash asked for at the keyboard or serial console (sysrq c)',
  },
  { name: 'kernel.unknown_nmi_panic', wanted: 1, accepts: on, missed: 'an NMI button or `virsh inject-nmi`' },
  {
    name: 'kernel.softlockup_panic',
    wanted: 1,
    accepts: on,
    missed: 'a CPU that stays in the kernel without rescheduling',
  },
  {
    name: 'kernel.hardlockup_panic',
    wanted: 1,
    accepts: on,
    missed: 'a CPU that stays in the kernel with interrupts off',
  },
  { name: 'kernel.hung_task_panic', wanted: 1, accepts: on, missed: 'a process that hangs in the kernel' },
  {
    name: 'vm.panic_on_oom',
    wanted: 1,
    accepts: (value) => value >= 1,
    missed: 'running out of memory: a process is killed',
  },
  {
    name: 'kernel.panic',
    wanted: 10,
    accepts: (value) => value !== 0,
    missed: 'the reboot after a panic whose capture kernel cannot be started: the machine would stand still',
  },
];

/** Reads every setting. `root` is where /proc hangs, for tests. */
export function readTriggers(root = ''): Trigger[] {
  return TRIGGER_RULES.map((rule) => {
    const value = readValue(sysctlPath(root, rule.name));
    return {
      name: rule.name,
      ...(value !== undefined && { value }),
      wanted: rule.wanted,
      ok: value !== undefined && rule.accepts(value),
    };
  });
}

/** Writes what is not as wanted; settings that this kernel lacks are passed over. Returns the names that changed. */
export function setTriggers(root = ''): string[] {
  const changed: string[] = [];
  for (const trigger of readTriggers(root)) {
    if (trigger.ok || trigger.value === undefined) continue;
    writeFileSync(sysctlPath(root, trigger.name), `${trigger.wanted}\n`);
    changed.push(trigger.name);
  }
  return changed;
}

/** Crashes that would leave no dump with the settings as they are, one sentence each. */
export function missedCrashes(triggers: readonly Trigger[]): string[] {
  return triggers
    .filter((trigger) => !trigger.ok)
    .map((trigger) => {
      const rule = TRIGGER_RULES.find(({ name }) => name === trigger.name)!;
      const found = trigger.value === undefined ? 'not in this kernel' : String(trigger.value);
      return `${rule.missed} (${trigger.name} is ${found})`;
    });
}

function sysctlPath(root: string, name: string): string {
  return join(root === '' ? '/' : root, 'proc/sys', name.replaceAll('.', '/'));
}

function readValue(path: string): number | undefined {
  try {
    const value = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return Number.isNaN(value) ? undefined : value;
  } catch {
    return undefined;
  }
}
