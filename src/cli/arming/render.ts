/** What was armed and what is armed, as documents and as lines. */

import type { MemoryBudget } from '../../host/memory-budget.ts';
import type { Trigger } from '../../host/triggers.ts';
import { formatTable } from '../output.ts';
import type { ArmResult } from './arm.ts';
import type { InspectedDevice } from './devices.ts';
import type { Problem } from './machine.ts';
import type { StatusResult } from './status.ts';

/** One shape for `arm`, `disarm` and `status`. */
export interface ArmingDocument {
  readonly schema: 'diskdump.status/1';
  readonly armed: boolean;
  readonly kernel: string;
  readonly crashkernelBytes: number;
  /** Forecast of MemAvailable at the end of stage 1; null where nothing is armed. */
  readonly spareBytes: number | null;
  readonly devices: readonly {
    readonly path: string;
    readonly uuid: string | null;
    readonly state: string;
    readonly problems: readonly string[];
  }[];
  readonly triggers: Readonly<
    Record<string, { readonly value: number | null; readonly wanted: number; readonly ok: boolean }>
  >;
  readonly lastDump?: object;
  readonly problems: readonly Problem[];
  readonly commandLine?: string;
  readonly watchdog?: string | null;
  readonly budget?: MemoryBudget;
  readonly missed?: readonly string[];
  readonly uncatchable?: readonly string[];
}

/** The document of `arm`. */
export function armDocument(result: ArmResult): ArmingDocument {
  return {
    schema: 'diskdump.status/1',
    armed: result.armed,
    kernel: result.machine.release,
    crashkernelBytes: result.reservedBytes,
    spareBytes: result.budget?.spareBytes ?? null,
    devices: result.devices.map(deviceDocument),
    triggers: triggerDocument(result.triggers),
    problems: result.problems,
    ...(result.commandLine !== undefined && { commandLine: result.commandLine }),
    watchdog: result.watchdog?.identity ?? null,
    ...(result.budget && { budget: result.budget }),
  };
}

/** The document of `status` and `disarm`. */
export function statusDocument(result: StatusResult): ArmingDocument {
  const { state } = result;
  return {
    schema: 'diskdump.status/1',
    armed: result.armed,
    kernel: result.kernel,
    crashkernelBytes: result.kexec.reservedBytes,
    spareBytes: state?.budget.spareBytes ?? null,
    devices: result.devices.map(deviceDocument),
    triggers: triggerDocument(result.triggers),
    ...(result.lastDump && { lastDump: result.lastDump }),
    problems: result.problems,
    ...(state && { commandLine: state.commandLine, watchdog: state.watchdog ?? null, budget: state.budget }),
    missed: result.missed,
    uncatchable: result.uncatchable,
  };
}

/** `arm` for people. */
export function armLines(result: ArmResult, dryRun: boolean): string[] {
  const { budget, watchdog } = result;
  const word = result.armed ? 'armed' : dryRun ? 'would be armed' : 'not armed';
  return [
    ...(budget && result.commandLine !== undefined
      ? [`${word}: a panic of ${result.machine.release} leaves a dump`]
      : []),
    ...deviceLines(result.devices),
    ...(budget ? budgetLines(budget) : []),
    ...(result.commandLine === undefined ? [] : [`command line  ${result.commandLine}`]),
    ...(watchdog ? [`watchdog      ${watchdog.identity}`] : []),
    ...problemLines(result.problems),
  ];
}

/** `status` for people. */
export function statusLines(result: StatusResult): string[] {
  const { state, lastDump } = result;
  return [
    result.armed
      ? `armed         since ${new Date(state!.armedMs).toISOString()}, kernel ${result.kernel}`
      : 'not armed',
    `crashkernel   ${megabytes(result.kexec.reservedBytes)}`,
    ...deviceLines(result.devices),
    ...(state ? [...budgetLines(state.budget), `command line  ${state.commandLine}`] : []),
    ...(state
      ? [`watchdog      ${state.watchdog ?? 'none'}`, `log alone     fits on ${state.logAreas} device(s)`]
      : []),
    ...(lastDump ? [`last dump     ${lastDump.dir}${lastDump.state ? `, ${lastDump.state}` : ''}`] : []),
    'triggers',
    ...formatTable(
      result.triggers.map((trigger) => ['', trigger.name, triggerText(trigger)]),
      [2],
    ),
    ...section('would leave no dump (`diskdump arm --triggers` changes that)', result.missed),
    ...section('cannot be caught on this machine', result.uncatchable),
    ...problemLines(result.problems),
  ];
}

function deviceDocument({ path, uuid, state, problems }: InspectedDevice): ArmingDocument['devices'][number] {
  return { path, uuid: uuid ?? null, state, problems };
}

function triggerDocument(triggers: readonly Trigger[]): ArmingDocument['triggers'] {
  return Object.fromEntries(
    triggers.map(({ name, value, wanted, ok }) => [name, { value: value ?? null, wanted, ok }]),
  );
}

function deviceLines(devices: readonly InspectedDevice[]): string[] {
  return formatTable(
    devices.map(({ path, uuid, state }, n) => [n === 0 ? 'devices     ' : '', path, state, uuid ?? '']),
  );
}

function budgetLines(budget: MemoryBudget): string[] {
  const parts = [
    `kernel ${megabytes(budget.kernelBytes + budget.bootBytes + budget.runtimeBytes)}`,
    `initramfs ${megabytes(budget.initramfsBytes)}`,
    `stage 1 ${megabytes(budget.stage1Bytes)}`,
  ];
  return [
    `memory        ${megabytes(budget.spareBytes)} to spare of ${megabytes(budget.reservedBytes)}: ${parts.join(', ')}`,
  ];
}

function problemLines(problems: readonly Problem[]): string[] {
  return problems.flatMap(({ level, text, hint }) => [`${level}: ${text}`, ...(hint ? [`  hint: ${hint}`] : [])]);
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [title, ...lines.map((line) => `  ${line}`)];
}

function triggerText({ value, wanted, ok }: Trigger): string {
  return value === undefined ? 'absent' : ok ? String(value) : `${value}, ${wanted} would dump`;
}

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MB`;
}
