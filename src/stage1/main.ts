/**
 * Stage 1: what runs in the capture kernel. Reads its configuration, writes the dump, says in `result` how it ended, and ends
 * itself.
 *
 *     node main.mjs --config /etc/diskdump/stage1.json --run /run/diskdump
 *
 * Whatever happens becomes a `result`: PID 1 decides by it. The end is SIGKILL, since a thread that a dead disk holds would
 * keep an ordinary exit waiting for ever.
 */

import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { UsageError } from '../base/errors.ts';
import { parseUuid } from '../base/hex.ts';
import { type CaptureResult, capture } from '../capture/capture.ts';
import { examineMachine } from '../capture/machine-facts.ts';
import { openVmcoreMachine } from '../capture/vmcore-machine.ts';
import { CODEC_FLAG, codecTable } from '../codec/codec.ts';
import { readBootId } from '../host/boot-id.ts';
import { systemClock } from '../host/clock.ts';
import { nodeCodecs, nodeCrc32 } from '../host/codecs.ts';
import { readKernelBinaries } from '../host/kernel-binaries.ts';
import { openMapped, PROC_VMCORE } from '../host/vmcore-map.ts';
import { killSelf } from '../sys/process.ts';
import { parseStage1Config, type Stage1Config } from './config.ts';
import { ConsoleSupervisor, type Say, sayOnConsole } from './console.ts';
import { stage1Finder } from './finder.ts';
import { RunFiles } from './run-files.ts';

/** Runs the capture. Throws for what is wrong with configuration or machine; failures of devices are in the result. */
function run(config: Stage1Config, files: RunFiles, say: Say): CaptureResult {
  const source = openMapped(config.vmcore, { map: config.vmcore === PROC_VMCORE });
  const machine = openVmcoreMachine(source, config.machineName || `vmcore:${source.name}`);
  say(`${source.name}: ${source.size} bytes, ${source.access}`);
  const { facts, essential, remarks } = examineMachine(machine);
  for (const remark of remarks) say(remark);
  say(`dead kernel: ${facts.utsname.release || 'unknown'} on ${facts.utsname.nodename || 'unknown'}`);
  const beat = (): void => files.beat();
  // What this boot wrote, it wrote with the codec of this configuration: no other is needed, and each takes megabytes.
  const codecs = config.compress === 'none' ? codecTable([]) : nodeCodecs();
  const codec = config.compress === 'none' ? undefined : codecs.get(CODEC_FLAG[config.compress]);
  const bootId = readBootId();
  return capture({
    machine,
    facts,
    essential,
    devices: config.devices.map(({ path, uuid }) => ({ name: path, uuid: parseUuid(uuid) as Uint8Array })),
    finder: stage1Finder({ devices: config.devices, deadlineMs: config.deviceTimeoutMs, onWait: beat }),
    deviceWaitMs: config.deviceWaitMs,
    wait: sleep,
    supervisor: new ConsoleSupervisor(systemClock, { pageSize: machine.pageSize, say, beat }),
    dumpUuid: bootId,
    bootId,
    ...(config.machineId !== '' && { machineId: parseUuid(config.machineId) as Uint8Array }),
    armedDigest: Buffer.from(config.armedDigest.padEnd(DIGEST_DIGITS, '0'), 'hex'),
    tried: files.tried,
    onFailed: (uuid) => files.noteTried(uuid),
    ...(codec && { codec }),
    codecs,
    crc: nodeCrc32,
    kernels: readKernelBinaries(),
    tell: say,
  });
}

const DIGEST_DIGITS = 64;
const MB = 1e6;

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** The last line on the console. */
function describeResult(result: CaptureResult): string {
  const { outcome, pages, plannedPages, device, reason, seconds } = result;
  if (outcome === 'no-device') return 'no dump: none of the registered devices could be used';
  const share = pages === plannedPages ? `${pages} pages` : `${pages} of ${plannedPages} pages`;
  const size = `${Math.round(result.bytes / MB)} MB in ${seconds.toFixed(1)} s`;
  return `dump ${outcome}: ${share}, ${size}, on ${device ?? 'no device'}${reason === undefined ? '' : `: ${reason}`}`;
}

interface Arguments {
  readonly config: string;
  readonly run: string;
}

function parseArguments(argv: readonly string[]): Arguments {
  const value = (name: string): string => {
    const text = argv[argv.indexOf(name) + 1];
    if (argv.includes(name) && text !== undefined) return text;
    throw new UsageError(
      'STAGE1_ARGUMENTS',
      `stage 1 needs ${name}`,
      {},
      'node main.mjs --config FILE --run DIRECTORY',
    );
  };
  return { config: value('--config'), run: value('--run') };
}

function main(argv: readonly string[]): void {
  const paths = parseArguments(argv);
  const files = new RunFiles(paths.run, systemClock);
  try {
    const config = parseStage1Config(readFileSync(paths.config, 'utf8'));
    const result = run(config, files, sayOnConsole);
    sayOnConsole(describeResult(result));
    files.writeResult(result.outcome, result);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    sayOnConsole(`no dump: ${message}`);
    files.writeResult('failed', { error: message, stack: error instanceof Error ? error.stack : undefined });
  }
}

// V8's optimizing compiler costs 6 MB here (its code, and its zones) and gains nothing: the work is in memcpy and CRC.
setFlagsFromString('--no-opt');
try {
  main(process.argv);
} catch (error) {
  // Not even the run directory: PID 1 sees a death without a result.
  sayOnConsole(`stage 1 cannot start: ${error instanceof Error ? error.message : String(error)}`);
}
killSelf();
