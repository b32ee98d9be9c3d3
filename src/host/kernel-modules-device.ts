/** Which drivers stand between the CPU and a device: found by walking sysfs from the device up to its bus. */

import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { findByModalias, type ModuleTree } from './kernel-modules.ts';

/** A walk ends here, whatever sysfs looks like. */
const ANCESTORS_MAX = 64;
const SLAVES_MAX = 64;

/**
 * Modules that drive the block device `name` (`vda1`, `nvme0n1`) on this machine, from the bus down: those of every
 * ancestor in sysfs that has a driver, of the members of a stacked device, of the controllers of a multipath NVMe.
 * Built-in drivers have no module and are not listed.
 */
export function findDeviceModules(sysfs: string, name: string): string[] {
  const found: string[] = [];
  walkBlockDevice(sysfs, join(sysfs, 'class/block', name), found, new Set());
  return [...new Set(found)];
}

/** Modules of the hardware watchdog, and how it was found. */
export interface WatchdogDriver {
  readonly modules: readonly string[];
  /** What the driver calls itself, or the module's name while it is not loaded. */
  readonly identity: string;
  readonly loaded: boolean;
}

/**
 * The machine's hardware watchdog: the one whose driver is running, else one that a driver of this kernel would take.
 * (Debian blacklists watchdog drivers, so that on most machines none is loaded.) `softdog` is no hardware.
 */
export function findWatchdog(sysfs: string, tree: ModuleTree): WatchdogDriver | undefined {
  const directory = join(sysfs, 'class/watchdog');
  for (const entry of list(directory)) {
    const identity = readText(join(directory, entry, 'identity')) ?? entry;
    if (/software watchdog/i.test(identity)) continue;
    const modules = ancestorModules(sysfs, realpath(join(directory, entry)));
    return { modules, identity, loaded: true };
  }
  const module = findByModalias(tree, '/watchdog/', deviceAliases(sysfs)).find((name) => name !== 'softdog');
  return module === undefined ? undefined : { modules: [module], identity: module, loaded: false };
}

function walkBlockDevice(sysfs: string, path: string, found: string[], seen: Set<string>): void {
  const real = realpath(path);
  if (real === undefined || seen.has(real) || seen.size > SLAVES_MAX) return;
  seen.add(real);
  for (const slave of list(join(real, 'slaves'))) walkBlockDevice(sysfs, join(real, 'slaves', slave), found, seen);
  if (real.includes('/nvme-subsystem/')) {
    const subsystem = dirname(real);
    for (const controller of list(subsystem).filter((entry) => /^nvme\d+$/.test(entry))) {
      found.push(...ancestorModules(sysfs, realpath(join(subsystem, controller))));
    }
  }
  found.push(...ancestorModules(sysfs, real));
}

/** Modules of the drivers from the outermost ancestor of `path` to itself. */
function ancestorModules(sysfs: string, path: string | undefined): string[] {
  const modules: string[] = [];
  const top = realpath(join(sysfs, 'devices'));
  let directory = path;
  for (let n = 0; directory !== undefined && directory !== top && n < ANCESTORS_MAX; n++) {
    const module = driverModule(directory);
    if (module) modules.unshift(module);
    const parent = dirname(directory);
    if (parent === directory) break;
    directory = parent;
  }
  return modules;
}

function driverModule(directory: string): string | undefined {
  try {
    return basename(readlinkSync(join(directory, 'driver/module')));
  } catch {
    return undefined;
  }
}

/** `modalias` of every device of the buses on which watchdogs are found. */
function* deviceAliases(sysfs: string): Generator<string> {
  for (const bus of ['pci', 'platform', 'acpi', 'virtio']) {
    const directory = join(sysfs, 'bus', bus, 'devices');
    for (const device of list(directory)) {
      const modalias = readText(join(directory, device, 'modalias'));
      if (modalias) yield modalias;
    }
  }
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function realpath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
