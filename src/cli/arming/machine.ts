/** What stands in the way of arming this machine, each with the command that removes it. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import type { KexecState } from '../../host/kexec.ts';

/** Something that the operator should know. An `error` means that a panic leaves no dump, or a wrong one. */
export interface Problem {
  readonly code: string;
  readonly level: 'error' | 'warning';
  readonly text: string;
  /** The command or the setting that ends it. */
  readonly hint?: string;
}

/** What {@link findMachineProblems} looks at. */
export interface MachineView {
  readonly kexec: KexecState;
  /** Whether this process may load a kernel. */
  readonly isRoot: boolean;
  /** True when the loaded capture kernel is the one that diskdump loaded in this boot. */
  readonly loadedByUs: boolean;
  /** Services of other kdump tools that are enabled. */
  readonly otherKdump: readonly string[];
  /** Replace what another tool has loaded. */
  readonly replace: boolean;
}

/** A pure decision over what was seen. */
export function findMachineProblems(view: MachineView): Problem[] {
  const { kexec } = view;
  const problems: Problem[] = [];
  if (!view.isRoot) {
    problems.push({
      code: 'NOT_ROOT',
      level: 'error',
      text: 'loading a capture kernel needs root',
      hint: 'sudo diskdump arm',
    });
  }
  if (!kexec.supported) {
    problems.push(NO_KEXEC);
  } else if (kexec.reservedBytes === 0) {
    problems.push({
      code: 'NO_RESERVATION',
      level: 'error',
      text: 'no memory is reserved for a capture kernel: the kernel was started without crashkernel=',
      hint: RESERVATION_HINT,
    });
  }
  if (kexec.disabled) {
    problems.push({
      code: 'KEXEC_DISABLED',
      level: 'error',
      text: 'kernel.kexec_load_disabled is set: nothing can be loaded until the next boot',
      hint: 'grep -rl kexec_load_disabled /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d; remove the line, then reboot',
    });
  }
  if (kexec.lockdown !== 'none') problems.push(lockdownProblem(kexec.lockdown));
  if (kexec.loaded && !view.loadedByUs && !view.replace) {
    problems.push({
      code: 'OTHER_KDUMP',
      level: 'error',
      text: `another capture kernel is loaded already${view.otherKdump.length > 0 ? `, by ${view.otherKdump.join(', ')}` : ''}`,
      hint: view.otherKdump[0]
        ? `systemctl disable --now ${view.otherKdump[0]}`
        : 'kexec -p -u, or diskdump arm --replace',
    });
  } else if (view.otherKdump.length > 0) {
    problems.push({
      code: 'OTHER_KDUMP',
      level: 'warning',
      text: `${view.otherKdump.join(', ')} is enabled and will load its own capture kernel at the next boot`,
      hint: `systemctl disable --now ${view.otherKdump[0]}`,
    });
  }
  return problems;
}

const NO_KEXEC: Problem = {
  code: 'NO_KEXEC',
  level: 'error',
  text: 'this kernel cannot start another one at a panic: it was built without kexec or without crash dumps (there is no /sys/kernel/kexec_crash_loaded)',
  hint: "boot the distribution's own kernel, or one with CONFIG_KEXEC_FILE and CONFIG_CRASH_DUMP; a container or a small virtual machine has the kernel of its host",
};

const RESERVATION_HINT =
  'add crashkernel=192M to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then update-grub and reboot';

function lockdownProblem(mode: 'integrity' | 'confidentiality'): Problem {
  const reading = mode === 'confidentiality' ? '; the kernel log alone cannot be prepared, /proc/kcore is closed' : '';
  return {
    code: 'LOCKDOWN',
    level: 'warning',
    text: `the kernel is locked down (${mode}): only a kernel signed by a key it trusts can be loaded${reading}`,
    hint: "use the distribution's signed kernel package",
  };
}

/** Crashes of this machine that no setting makes catchable, one sentence each. */
export function findUncatchable(view: { readonly hasWatchdog: boolean; readonly isVirtual: boolean }): string[] {
  const always = [
    'a triple fault: the CPU resets without a word',
    'a panic before this machine was armed in this boot',
  ];
  const watchdog = view.hasWatchdog
    ? []
    : ['a capture kernel that is damaged or hangs: without a hardware watchdog nothing reboots'];
  const metal = view.isVirtual
    ? ['the end of the virtual machine itself, or of its host']
    : ['a fatal machine check, and loss of power'];
  return [...always, ...watchdog, ...metal];
}

/** Whether the CPU says that it runs under a hypervisor. */
export function isVirtualMachine(cpuinfo = '/proc/cpuinfo'): boolean {
  try {
    return /^flags\s*:.*\bhypervisor\b/m.test(readFileSync(cpuinfo, 'utf8'));
  } catch {
    return false;
  }
}

/** Name of this machine, for the dump. */
export function machineName(): string {
  return hostname();
}

/** 32 hex digits of /etc/machine-id, '' where there is none. Source: machine-id(5). */
export function machineId(path = '/etc/machine-id'): string {
  try {
    const id = readFileSync(path, 'utf8').trim();
    return /^[0-9a-f]{32}$/.test(id) ? id : '';
  } catch {
    return '';
  }
}

/** `/lib/modules/RELEASE`, or where it lies under /usr. */
export function modulesDirectory(kernel: string): string {
  const places = [`/lib/modules/${kernel}`, `/usr/lib/modules/${kernel}`];
  return places.find((place) => existsSync(place) && statSync(place).isDirectory()) ?? (places[0] as string);
}
