/** `diskdump read`: memory of a dump, as raw bytes. */

import { existsSync } from 'node:fs';
import { NoDataError, UnsupportedError, UsageError } from '../../base/errors.ts';
import { hex } from '../../base/hex.ts';
import { missingReason } from '../../kernel/memory.ts';
import { type Kernel, openKernel } from '../../kernel/open.ts';
import { EXIT, formatError, formatErrorDocument } from '../errors.ts';
import { openDumpFile } from '../open-dump.ts';
import type { Io } from '../output.ts';
import { defineVerb, flag, parseInteger, parseSize } from '../verb.ts';

const ADDRESS_END = 1n << 64n;

export const verb = defineVerb({
  name: 'read',
  text: `Writes LENGTH bytes of the dumped memory from ADDR on to stdout, raw.

ADDR is a virtual address of the kernel, or with --phys a physical one: 0x…, hex digits with a letter among them, or
decimal. LENGTH is decimal, 0x…, or with K, M, G. Reading stops at the first byte that is not there: the error names its address and why
(excluded, hole, never captured, not mapped), and the exit code is 4. With --json the bytes stay raw; the error is a document too.`,
  examples: [
    { command: 'read vmcore 0xffffffff8cb1ffe0 204', brief: 'linux_banner, where it lies' },
    { command: 'read vmcore 0x100000 4K --phys | hexdump -C', brief: 'one page of physical memory' },
  ],
  flags: {
    phys: flag.switch('ADDR is a physical address'),
    zeroExcluded: flag.switch('zeros where bytes are not there'),
  },
  positionals: [
    { name: 'DUMP', brief: 'a dump file or a dump device', count: 'some' },
    { name: 'ADDR', brief: 'where to begin' },
    { name: 'LENGTH', brief: 'how many bytes' },
  ],
  run(flags, positionals, io) {
    const [address, length] = [parseAddress(positionals.at(-2) ?? ''), parseLength(positionals.at(-1) ?? '')];
    if (address + BigInt(length) > ADDRESS_END)
      throw new UsageError('USAGE_RANGE', `${length} bytes at ${hex(address)} reach past the last address`, {
        address,
      });
    const paths = positionals.slice(0, -2);
    const [, second] = paths;
    if (second !== undefined && !existsSync(second))
      throw new UsageError(
        'USAGE',
        `read: one argument too many: ${positionals.length} are given, and '${second}' is no second file of a dump`,
        { verb: 'read', path: second },
        'DUMP ADDR LENGTH, nothing behind LENGTH',
      );
    if (paths.length > 1)
      throw new UnsupportedError(
        'SPLIT_SET',
        `reading ${paths.length} files as one dump: split dumps are not read yet`,
      );
    const dump = openDumpFile(paths[0] ?? '');
    try {
      return copyMemory(openKernel(dump.vmcore), { address, length, ...flags }, io);
    } finally {
      dump.close();
    }
  },
});

interface Request {
  readonly address: bigint;
  readonly length: number;
  readonly phys: boolean;
  readonly zeroExcluded: boolean;
}

/** Copies page by page, so that everything before the first missing byte is written. */
function copyMemory(kernel: Kernel, request: Request, io: Io): number {
  const { pageSize } = kernel.physical;
  const page = new Uint8Array(pageSize);
  let missing = 0;
  for (let done = 0; done < request.length; ) {
    const at = request.address + BigInt(done);
    const part = page.subarray(0, Math.min(request.length - done, pageSize - Number(at % BigInt(pageSize))));
    try {
      const paddr = request.phys ? at : BigInt(kernel.memory.translate(at).paddr);
      kernel.physical.readPhysical(part, toPaddr(paddr));
    } catch (error) {
      if (!(error instanceof NoDataError)) throw error;
      const named = nameMissing(error, at, request.phys);
      if (!request.zeroExcluded) return reportMissing(named, io);
      io.detail(named.message);
      part.fill(0);
      missing += part.length;
    }
    io.write(part);
    done += part.length;
  }
  if (missing > 0) io.note(`${missing} of ${request.length} bytes are not in the dump; they were written as zeros`);
  return EXIT.done;
}

/** Physical addresses are below 2^52 on every machine; above lies nothing. */
function toPaddr(paddr: bigint): number {
  if (paddr < 1n << 53n) return Number(paddr);
  throw new NoDataError('PAGE_ABSENT', `no machine has memory at paddr ${hex(paddr)}`, { paddr });
}

function nameMissing(error: NoDataError, address: bigint, phys: boolean): NoDataError {
  const kind = phys ? 'paddr' : 'vaddr';
  const reason = missingReason(error);
  const detail = error.message.startsWith(reason) ? error.message : `${reason}: ${error.message}`;
  const message = `reading ${kind} ${hex(address)}: ${detail}`;
  const hint = '`--zero-excluded` reads zeros where bytes are not there';
  return new NoDataError(error.code, message, { ...error.data, address, kind, reason }, hint, error);
}

function reportMissing(error: NoDataError, io: Io): number {
  io.flush();
  io.error(formatError(error, io.verbose));
  if (io.json) io.error([formatErrorDocument(error)]);
  return EXIT.partial;
}

/** Hex with 0x, or without where a letter shows it; digits alone are decimal, as in every number of the command line. */
function parseAddress(text: string): bigint {
  const isHex = /^(0x)?[0-9a-f]{1,16}$/i.test(text) && !/^[0-9]+$/.test(text);
  const address = isHex
    ? BigInt(/^0x/i.test(text) ? text : `0x${text}`)
    : /^[0-9]{1,20}$/.test(text)
      ? BigInt(text)
      : -1n;
  if (address >= 0n && address < ADDRESS_END) return address;
  throw new UsageError('USAGE_ADDRESS', `'${text}' is no address: 0x and up to 16 hex digits, or decimal`, { text });
}

function parseLength(text: string): number {
  return /^0x/i.test(text) ? parseInteger(text) : parseSize(text);
}
