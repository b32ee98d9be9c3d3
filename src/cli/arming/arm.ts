/** Arming: from a configuration to a loaded capture kernel. What is decided is data until the last step. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../../base/errors.ts';
import {
  type ArmedState,
  fileSha256,
  type MachineFacts,
  readArmedState,
  readMachineFacts,
  sha256,
  writeArmedState,
} from '../../host/arm-state.ts';
import { readBlockDevice } from '../../host/block-devices.ts';
import { type Config, loadConfig } from '../../host/config.ts';
import { findBusybox, type Initramfs, writeInitramfs } from '../../host/initramfs.ts';
import { type ModuleTree, openModuleTree, planModules } from '../../host/kernel-modules.ts';
import { findDeviceModules, findWatchdog, type WatchdogDriver } from '../../host/kernel-modules-device.ts';
import {
  captureCommandLine,
  findKernelImage,
  findKexec,
  findOtherKdump,
  loadCrashKernel,
  readKexecState,
} from '../../host/kexec.ts';
import { forecastMemory, type MemoryBudget, readKernelBytes, suggestReservation } from '../../host/memory-budget.ts';
import type { RuntimeImage } from '../../host/runtime-image.ts';
import { readTriggers, setTriggers, type Trigger } from '../../host/triggers.ts';
import {
  checkAgainstConfig,
  describeDeviceProblems,
  type InspectedDevice,
  inspectDevices,
  noteArmedDigest,
} from './devices.ts';
import { type LogAreaParts, prepareLogArea } from './log-area.ts';
import { findMachineProblems, machineId, machineName, modulesDirectory, type Problem } from './machine.ts';
import { prepareRuntime, tryRuntime } from './runtime.ts';

/** As on the command line. */
export interface ArmOptions {
  readonly config?: string;
  readonly runtimeImage?: string;
  /** In place of the running kernel's own image. */
  readonly kernel?: string;
  readonly triggers: boolean;
  readonly replace: boolean;
  readonly dryRun: boolean;
  /** Where the initramfs is kept. */
  readonly directory: string;
  /** Where runtime images are kept. */
  readonly runtimeDirectory: string;
  /** Called when something that takes time begins. */
  readonly say: (line: string) => void;
}

/** What was armed, or would be. */
export interface ArmResult {
  readonly armed: boolean;
  readonly machine: MachineFacts;
  readonly reservedBytes: number;
  /** Absent where an error came before the initramfs was built. */
  readonly budget?: MemoryBudget;
  readonly commandLine?: string;
  readonly devices: readonly InspectedDevice[];
  readonly triggers: readonly Trigger[];
  readonly watchdog?: WatchdogDriver;
  readonly problems: readonly Problem[];
}

/**
 * Arms the machine, or finds out why it cannot be. Nothing is loaded while there is a problem of level error.
 *
 * @throws UsageError for a configuration; RefusedError for a missing tool, a module that cannot be had, and what kexec refuses.
 */
export async function armMachine(options: ArmOptions): Promise<ArmResult> {
  const { config, path: configPath } = await loadConfig(options.config);
  const machine = readMachineFacts();
  const problems = findMachineProblems(viewMachine(machine, options));
  const devices = inspectConfigured(config, configPath ?? 'the configuration');
  problems.push(...deviceProblems(devices));
  const reservedBytes = readKexecState().reservedBytes;
  if (hasError(problems)) return { machine, reservedBytes, devices, armed: false, triggers: readTriggers(), problems };
  const tree = openModuleTree(modulesDirectory(machine.release));
  const watchdog = config.captureKernel.watchdog ? findWatchdog('/sys', tree) : undefined;
  if (!watchdog) problems.push(NO_WATCHDOG);
  const found = { machine, reservedBytes, devices, ...(watchdog && { watchdog }) };
  const kernel = options.kernel ?? findKernelImage(machine.release);
  const kexec = findKexec();
  const busybox = findBusybox();
  options.say('runtime image');
  const runtime = prepareRuntime(options);
  problems.push(...(await tryRuntime(options.runtimeImage === undefined ? undefined : runtime.path)));
  problems.push(...runtime.warnings.map((text): Problem => ({ code: 'RUNTIME', level: 'warning', text })));
  const logArea = prepareLogArea(devices, machine.release);
  problems.push(...logArea.problems);

  options.say('initramfs');
  const plan: ImagePlan = { options, config, machine, devices, tree, watchdog, busybox, runtime, logArea };
  return withImage(plan, (initramfs) => {
    const budget = forecastMemory({
      reservedBytes,
      kernelBytes: readKernelBytes() ?? KERNEL_BYTES_TYPICAL,
      initramfsBytes: initramfs.bytes,
      moduleBytes: initramfs.moduleBytes,
    });
    problems.push(...budgetProblems(budget));
    const commandLine = captureCommandLine({
      firstKernel: readFileSync('/proc/cmdline', 'utf8'),
      runtimeSha256: runtime.sha256,
      armedSha256: initramfs.sha256,
      append: config.captureKernel.append,
    });
    const result = { ...found, budget, commandLine, problems };
    if (options.dryRun || hasError(problems)) return { ...result, armed: false, triggers: readTriggers() };

    options.say('kexec');
    // The kernel lets go of an image that is loaded already before it takes the new one.
    const call = loadCrashKernel({ kernel, initramfs: initramfs.path, commandLine }, kexec);
    for (const text of noteArmedDigest(devices, initramfs.sha256))
      problems.push({ code: 'LABEL_DIGEST', level: 'warning', text });
    if (options.triggers) setTriggers();
    writeArmedState({
      schema: 'diskdump.armed/1',
      armedMs: Date.now(),
      machine,
      kernelImage: { path: kernel, sha256: fileSha256(kernel) },
      initramfs: { path: initramfs.path, sha256: initramfs.sha256, bytes: initramfs.bytes },
      runtime: { path: runtime.path, sha256: runtime.sha256 },
      config: { ...(configPath && { path: configPath }), sha256: configDigest(configPath) },
      commandLine,
      call,
      devices: devices.flatMap(({ path, uuid, id }): ArmedState['devices'] =>
        uuid && id ? [{ path, uuid, sizeBytes: id.size }] : [],
      ),
      budget,
      ...(watchdog && { watchdog: watchdog.identity }),
      logAreas: logArea.devices,
    });
    return { ...result, armed: true, triggers: readTriggers() };
  });
}

/** Digest of the configuration file; that of nothing where there is none. */
export function configDigest(path: string | undefined): string {
  return path === undefined ? sha256('') : fileSha256(path);
}

export function hasError(problems: readonly Problem[]): boolean {
  return problems.some(({ level }) => level === 'error');
}

/** Debian's 6.1 and 6.12 have 38 to 44 MB; used where /proc/iomem hides its addresses. */
const KERNEL_BYTES_TYPICAL = 44 * 2 ** 20;

const NO_WATCHDOG: Problem = {
  code: 'NO_WATCHDOG',
  level: 'warning',
  text: 'no hardware watchdog: a capture kernel that hangs, or whose image was damaged, stays there until somebody resets the machine',
  hint: 'a virtual machine can be given one (i6300esb, iTCO_wdt)',
};

function viewMachine(machine: MachineFacts, options: ArmOptions): Parameters<typeof findMachineProblems>[0] {
  return {
    kexec: readKexecState(),
    isRoot: process.geteuid?.() === 0,
    loadedByUs: readArmedState()?.machine.bootId === machine.bootId,
    otherKdump: findOtherKdump(),
    replace: options.replace,
  };
}

function inspectConfigured(config: Config, file: string): InspectedDevice[] {
  if (config.devices.length === 0) {
    throw new UsageError('NO_DEVICES', `arming: ${file} names no dump device`, { file }, DEVICES_HINT);
  }
  const devices = inspectDevices(config.devices);
  checkAgainstConfig(devices, config, file);
  return devices;
}

/** What is wrong with the devices of the list, and whether stage 1 could use one of them. */
export function deviceProblems(devices: readonly InspectedDevice[]): Problem[] {
  if (devices.length === 0) return [NO_DEVICES];
  const problems = devices.flatMap(describeDeviceProblems);
  if (devices.some(({ label, denied }) => label !== undefined || denied)) return problems;
  return [
    ...problems,
    {
      code: 'NO_DEVICE',
      level: 'error',
      text: 'none of the configured devices is a dump device that stage 1 could use',
      hint: formatHint(devices),
    },
  ];
}

const DEVICES_HINT = 'devices = ["/dev/disk/by-id/…"], formatted with `diskdump format`';

const NO_DEVICES: Problem = {
  code: 'NO_DEVICES',
  level: 'error',
  text: 'the configuration names no dump device',
  hint: DEVICES_HINT,
};

/** Only a disk or partition that is there is worth formatting. */
function formatHint(devices: readonly InspectedDevice[]): string {
  const candidate = devices.find(({ id, state }) => id !== undefined && state === 'unformatted');
  if (candidate) return `diskdump format ${candidate.path}`;
  return 'list a disk or a partition under `devices` (`lsblk` shows them, /dev/disk/by-id has names that stay), then `diskdump format` it';
}

interface ImagePlan {
  readonly options: ArmOptions;
  readonly config: Config;
  readonly machine: MachineFacts;
  readonly devices: readonly InspectedDevice[];
  readonly tree: ModuleTree;
  readonly watchdog: WatchdogDriver | undefined;
  readonly busybox: string;
  readonly runtime: RuntimeImage;
  readonly logArea: LogAreaParts;
}

/** Builds the initramfs: to stay, or for a dry run in a place that is gone afterwards. */
function withImage<T>(plan: ImagePlan, use: (initramfs: Initramfs) => T): T {
  const { directory, dryRun } = plan.options;
  if (!dryRun) {
    mkdirSync(directory, { recursive: true, mode: 0o755 });
    return use(buildImage(plan, join(directory, `initramfs-${plan.machine.release}.img`)));
  }
  const scratch = mkdtempSync(join(tmpdir(), 'diskdump-arm-'));
  try {
    return use(buildImage(plan, join(scratch, 'initramfs.img')));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function buildImage(plan: ImagePlan, path: string): Initramfs {
  const { config, devices, tree, watchdog, busybox, runtime, logArea } = plan;
  const lists = [
    { name: 'base', modules: planModules(tree, ['loop', 'squashfs', ...config.captureKernel.modules]) },
    ...devices.flatMap(({ path: device, id }, n) =>
      id ? [{ name: `device-${n + 1}`, modules: planModules(tree, deviceModules(device)) }] : [],
    ),
    ...(watchdog ? [{ name: 'watchdog', modules: planModules(tree, watchdog.modules) }] : []),
  ];
  const stage1 = new TextEncoder().encode(`${JSON.stringify(stage1Config(config, devices))}\n`);
  return writeInitramfs(
    {
      runtime,
      tree,
      lists,
      busybox,
      settings: {
        heartbeatSeconds: config.timeouts.heartbeat,
        fallbackSeconds: config.timeouts.fallback,
        finalAction: config.finalAction,
      },
      files: [{ path: 'etc/diskdump/stage1.json', bytes: stage1 }, ...logArea.files],
    },
    path,
  );
}

function deviceModules(path: string): string[] {
  const device = readBlockDevice(path);
  return device ? findDeviceModules('/sys', device.name) : [];
}

/**
 * What stage 1 is told, as `Stage1Config` has it. The armed digest is left empty: it is that of the image in which this
 * lies, and PID 1 fills it in from the command line. A device without a label stays in the list under a UUID that no
 * label has, so that it is seen, refused and named in the run record.
 */
export function stage1Config(config: Config, devices: readonly InspectedDevice[]): object {
  return {
    schema: 'diskdump.stage1/1',
    machineName: machineName(),
    machineId: machineId(),
    devices: devices.flatMap(({ path, id, uuid }) => (id ? [{ path, id, uuid: uuid ?? NO_UUID }] : [])),
    compress: config.compress,
    deviceWaitMs: config.timeouts.deviceWait * 1000,
    deviceTimeoutMs: config.timeouts.device * 1000,
    armedDigest: '',
    vmcore: '/proc/vmcore',
  };
}

const NO_UUID = '00000000-0000-0000-0000-000000000000';

function budgetProblems(budget: MemoryBudget): Problem[] {
  if (budget.verdict === 'good') return [];
  const spare = `${Math.floor(budget.spareBytes / 2 ** 20)} MB`;
  const wanted = `crashkernel=${suggestReservation(budget) / 2 ** 20}M`;
  return [
    {
      code: 'MEMORY_BUDGET',
      level: budget.verdict === 'tight' ? 'warning' : 'error',
      text: `the capture kernel would have ${spare} to spare at the end of stage 1`,
      hint: `${wanted} on the kernel command line would do`,
    },
  ];
}
