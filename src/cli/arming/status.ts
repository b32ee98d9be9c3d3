/** Whether a panic now would leave a dump, and what would not. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ArmedState, findStaleness, readArmedState, readMachineFacts } from '../../host/arm-state.ts';
import { loadConfig } from '../../host/config.ts';
import { findOtherKdump, type KexecState, readKexecState } from '../../host/kexec.ts';
import { missedCrashes, readTriggers, type Trigger } from '../../host/triggers.ts';
import { configDigest, deviceProblems } from './arm.ts';
import { type InspectedDevice, inspectDevices } from './devices.ts';
import { findMachineProblems, findUncatchable, isVirtualMachine, type Problem } from './machine.ts';

/** Everything that `status` shows. */
export interface StatusResult {
  /** The capture kernel that diskdump loaded in this boot is there. */
  readonly armed: boolean;
  readonly kernel: string;
  readonly kexec: KexecState;
  /** What was armed; absent when nothing was in this boot. */
  readonly state?: ArmedState;
  readonly devices: readonly InspectedDevice[];
  readonly triggers: readonly Trigger[];
  /** Crashes that would leave no dump with the settings as they are. */
  readonly missed: readonly string[];
  /** Crashes that no setting makes catchable here. */
  readonly uncatchable: readonly string[];
  readonly lastDump?: LastDump;
  readonly problems: readonly Problem[];
}

/** The newest directory below the save directory. */
export interface LastDump {
  readonly dir: string;
  /** As its `info.json` says. */
  readonly state?: string;
  readonly panic?: string;
}

/** Looks at the machine; writes nothing. @throws UsageError for a configuration that does not read. */
export async function readStatus(options: { readonly config?: string }): Promise<StatusResult> {
  const { config, path } = await loadConfig(options.config);
  const machine = readMachineFacts();
  const kexec = readKexecState();
  const noted = readArmedState();
  const state = noted?.machine.bootId === machine.bootId ? noted : undefined;
  const armed = kexec.loaded && state !== undefined;
  const isRoot = process.geteuid?.() === 0;
  const devices = inspectDevices(config.devices);
  const triggers = readTriggers();
  const lastDump = findLastDump(config.save.directory);
  const view = { kexec, isRoot: true, loadedByUs: armed, otherKdump: findOtherKdump(), replace: false };
  const machineProblems = findMachineProblems(view);
  const obstacles = [...machineProblems, ...(isRoot ? [] : [NOT_ROOT]), ...deviceProblems(devices)];
  const problems: Problem[] = [
    ...obstacles,
    ...(armed ? [] : [notArmed(obstacles)]),
    ...(armed ? findStaleness(state, machine, configDigest(path)).map(staleProblem) : []),
    ...(armed && state.watchdog === undefined ? [NO_WATCHDOG] : []),
  ];
  return {
    armed,
    kernel: machine.release,
    kexec,
    ...(state && { state }),
    devices,
    triggers,
    missed: missedCrashes(triggers),
    uncatchable: findUncatchable({ hasWatchdog: state?.watchdog !== undefined, isVirtual: isVirtualMachine() }),
    ...(lastDump && { lastDump }),
    problems,
  };
}

/** Arming is no advice while something stands in its way. */
function notArmed(others: readonly Problem[]): Problem {
  const blocked = others.some(({ level }) => level === 'error');
  return {
    code: 'NOT_ARMED',
    level: 'error',
    text: 'this machine is not armed: a panic leaves no dump',
    hint: blocked ? 'first remove the errors above, then `diskdump arm`' : 'diskdump arm',
  };
}

const NOT_ROOT: Problem = {
  code: 'NOT_ROOT',
  level: 'warning',
  text: 'not everything can be seen without root: memory map, devices',
  hint: 'sudo diskdump status',
};

const NO_WATCHDOG: Problem = {
  code: 'NO_WATCHDOG',
  level: 'warning',
  text: 'no hardware watchdog guards the capture kernel',
};

/** A changed configuration still leaves a dump; any other change may leave none, or a wrong one. */
function staleProblem({ what, text }: { readonly what: string; readonly text: string }): Problem {
  const level = what === 'config' ? 'warning' : 'error';
  return { code: `STALE_${what.toUpperCase()}`, level, text, hint: 'diskdump arm' };
}

const CRASH_DIRECTORY = /^127\.0\.0\.1-\d{4}-\d\d-\d\d-\d\d:\d\d:\d\d/;

function findLastDump(directory: string): LastDump | undefined {
  if (!existsSync(directory)) return undefined;
  const newest = readdirSync(directory)
    .filter((name) => CRASH_DIRECTORY.test(name))
    .sort()
    .at(-1);
  if (newest === undefined) return undefined;
  const dir = join(directory, newest);
  try {
    const info = JSON.parse(readFileSync(join(dir, 'info.json'), 'utf8')) as Record<string, unknown>;
    const panic = (info.panic as { message?: unknown } | undefined)?.message;
    return {
      dir,
      ...(typeof info.state === 'string' && { state: info.state }),
      ...(typeof panic === 'string' && { panic }),
    };
  } catch {
    return { dir };
  }
}
