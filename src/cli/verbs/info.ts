/** `diskdump info`: what a dump holds. */

import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { formatDate } from '../../kernel/log-text.ts';
import { collectInfo, type DumpInfo } from '../dump-info.ts';
import { EXIT } from '../errors.ts';
import { openDumpFile } from '../open-dump.ts';
import { escapeControls, formatTable } from '../output.ts';
import { formatBytes } from '../progress.ts';
import { defineVerb } from '../verb.ts';

export const verb = defineVerb({
  name: 'info',
  text: `What a dump holds: which kernel, why and when it died, how many of its pages are there and how they are stored,
which notes came with them. A dump device shows its newest whole state and which passes of the capture are done.
A partial dump is no error.`,
  examples: [
    { command: 'info vmcore', brief: 'for people' },
    { command: "info vmcore --json | jq -r '.panic.message'", brief: 'one fact of it' },
  ],
  flags: {},
  positionals: [{ name: 'DUMP', brief: 'a dump file or a dump device' }],
  run(_flags, [path], io) {
    const dump = openDumpFile(path as string);
    try {
      const info = collectInfo(dump.vmcore);
      if (io.json) {
        io.document(info);
      } else {
        for (const line of formatTable(formatInfo(info, dump.size))) io.print(escapeControls(line));
      }
      if (info.state === 'partial' && hasSaveRecord(path as string))
        io.note('info.json beside it says why this dump is partial, and in what state its device was');
      for (const problem of info.problems) io.detail(`not found: ${escapeControls(problem)}`);
      return EXIT.done;
    } finally {
      dump.close();
    }
  },
});

/** The format has no room for the reason: `save` wrote it down beside the dump. */
function hasSaveRecord(path: string): boolean {
  return basename(path).startsWith('vmcore') && existsSync(join(dirname(path), 'info.json'));
}

type Row = [label: string, text: string];

/** The rows of the text form, label and fact. */
export function formatInfo(info: DumpInfo, fileSize: number): Row[] {
  const rows: (Row | undefined)[] = [
    ['file', `${info.file}, ${formatBytes(fileSize)}`],
    ['format', formatFormat(info)],
    info.partialReason === undefined ? undefined : ['', info.partialReason],
    ...(info.passes ?? []).map((pass, i): Row => [i === 0 ? 'passes' : '', formatPass(pass)]),
    ['kernel', `${info.release ?? 'unknown release'}, ${info.arch}`],
    optional('version', info.version),
    optional('host', info.nodename),
    optional('panic', info.panic?.message),
    optional('', formatWhere(info)),
    optional(
      info.crashTimeFrom === 'header' ? 'dumped' : 'crashed',
      info.crashTime === undefined ? undefined : formatDate(info.crashTime),
    ),
    optional('booted', info.bootTime === undefined ? undefined : formatDate(info.bootTime)),
    ['CPUs', formatCpus(info)],
    ['memory', formatPages(info, info.pages.present, `to pfn 0x${info.pages.maxPfn.toString(16)}`)],
    ['stored', formatPages(info, info.pages.stored, formatCodecs(info))],
    info.pages.excluded === 0 ? undefined : ['missing', formatPages(info, info.pages.excluded, formatMissing(info))],
    optional('KASLR', info.kaslrOffset === undefined ? undefined : signedHex(info.kaslrOffset)),
    optional('phys_base', info.physBase === undefined ? undefined : signedHex(BigInt(info.physBase))),
    ...formatNotes(info),
  ];
  return rows.filter((row) => row !== undefined);
}

function optional(label: string, text: string | undefined): Row | undefined {
  return text === undefined || text === '' ? undefined : [label, text];
}

function formatFormat(info: DumpInfo): string {
  const version = info.format === 'kdump' && info.formatVersion !== undefined ? ` version ${info.formatVersion}` : '';
  return `${info.format}${version}, ${info.state}, pages of ${formatBytes(info.pageSize)}`;
}

function formatPass(pass: { name: string; complete: boolean; planned: number; stored: number }): string {
  return `${pass.name}: ${pass.complete ? 'complete' : 'not complete'}, ${pass.stored} of ${pass.planned} pages`;
}

function formatWhere({ panic }: DumpInfo): string | undefined {
  if (panic === undefined) return undefined;
  const parts = [
    panic.cpu === undefined ? undefined : `CPU ${panic.cpu}`,
    panic.pid === undefined ? undefined : `PID ${panic.pid}`,
    panic.comm,
  ];
  return parts.filter((part) => part !== undefined).join(', ');
}

function formatCpus(info: DumpInfo): string {
  const silent = info.cpusWithoutRegisters;
  if (silent === undefined || silent.length === 0) return String(info.cpus);
  return `${info.cpus}, no registers of CPU ${silent.join(', ')}`;
}

function formatPages(info: DumpInfo, count: number, detail: string): string {
  return `${count} pages (${formatBytes(count * info.pageSize)})${detail === '' ? '' : `, ${detail}`}`;
}

function formatCodecs(info: DumpInfo): string {
  const parts = Object.entries(info.compression).map(([codec, count]) => `${count} ${codec}`);
  if (info.pages.zero > 0) parts.push(`${info.pages.zero} zero`);
  return parts.join(', ');
}

/** Who left them out: a filter, or nobody. */
function formatMissing({ pages, dumpLevel }: DumpInfo): string {
  const holes = pages.holes ?? 0;
  const excluded = pages.excluded - holes;
  const level = dumpLevel === undefined ? 'excluded by a filter' : `excluded at dump level ${dumpLevel}`;
  if (holes === 0) return level;
  const cut = 'holes: not captured, or cut off';
  return excluded > 0 ? `${holes} of them ${cut}, ${excluded} ${level}` : cut;
}

function formatNotes(info: DumpInfo): Row[] {
  const counts = new Map<string, number>();
  for (const { owner, type, size } of info.notes) {
    const text = `${owner} type ${type}, ${size} bytes`;
    counts.set(text, (counts.get(text) ?? 0) + 1);
  }
  return [...counts].map(
    ([text, count], i): Row => [i === 0 ? 'notes' : '', count === 1 ? text : `${count} × ${text}`],
  );
}

function signedHex(value: bigint): string {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}
