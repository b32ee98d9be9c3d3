/** The MACHINE of a command line: what is dumped. */

import { existsSync } from 'node:fs';
import { NoDataError, UsageError } from '../../base/errors.ts';
import { openDumpMachine } from '../../capture/dump-machine.ts';
import type { Machine } from '../../capture/machine.ts';
import { type ExaminedMachine, examineMachine } from '../../capture/machine-facts.ts';
import { openVmcoreMachine } from '../../capture/vmcore-machine.ts';
import { readBootId } from '../../host/boot-id.ts';
import { openMapped, PROC_VMCORE } from '../../host/vmcore-map.ts';
import { openDumpFile } from '../open-dump.ts';

/** An open machine, looked at. */
export interface OpenMachine extends ExaminedMachine {
  readonly machine: Machine;
  /** 16 bytes of the capture kernel's boot over /proc/vmcore; zeros otherwise, and then no capture is ever resumed. */
  readonly bootId: Uint8Array;
  close(): void;
}

/**
 * Opens `vmcore:PATH`, or a dump file or device by its path.
 *
 * @throws UsageError `MACHINE_KIND` for a kind that this diskdump does not capture; NoDataError `VMCORE_ABSENT`.
 */
export function openMachine(name: string): OpenMachine {
  const [, kind, rest] = /^([a-z]+):(.*)$/.exec(name) ?? [];
  if (kind === undefined) return openDump(name);
  if (kind === 'vmcore') return openVmcore(rest || PROC_VMCORE);
  throw new UsageError(
    'MACHINE_KIND',
    `capturing from '${name}': no machine of kind ${kind}, expected vmcore:PATH or a dump file`,
    { name },
    `\`diskdump capture vmcore:${PROC_VMCORE} --to DEVICE\` dumps the crashed kernel from its capture kernel`,
  );
}

function openVmcore(path: string): OpenMachine {
  const isProc = path === PROC_VMCORE;
  if (!existsSync(path))
    throw new NoDataError(
      'VMCORE_ABSENT',
      `capturing from vmcore:${path}: ${isProc ? 'there is none, it exists only in a capture kernel, after a panic' : 'there is no such file'}`,
      { path },
      isProc
        ? '`diskdump arm` loads the capture kernel, which does this by itself; for a trial: `diskdump capture DUMPFILE --to DEVICE`'
        : 'is the path right?',
    );
  const source = openMapped(path, { map: isProc });
  const machine = openVmcoreMachine(source);
  const bootId = isProc ? readBootId() : new Uint8Array(16);
  return { machine, bootId, ...examineMachine(machine), close: () => source.close() };
}

function openDump(path: string): OpenMachine {
  const dump = openDumpFile(path);
  const machine = openDumpMachine(dump.vmcore);
  const { utsname, physBase, timestampSeconds } = dump.vmcore.header;
  const known = {
    ...(utsname && { utsname }),
    ...(physBase !== undefined && { physBase }),
    ...(timestampSeconds !== undefined && { crashSeconds: timestampSeconds }),
  };
  const bootId = new Uint8Array(16);
  return { machine, bootId, ...examineMachine(machine, known), close: () => dump.close() };
}
