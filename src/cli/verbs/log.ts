/** `diskdump log`: the kernel log of a dump. */

import { NoDataError, UsageError } from '../../base/errors.ts';
import type { Vmcore } from '../../format/vmcore.ts';
import { formatDate, formatLogLine, formatVmcoreDmesg, logDocument } from '../../kernel/log-text.ts';
import { type Kernel, openKernel } from '../../kernel/open.ts';
import type { LogEnd, LogRecord } from '../../kernel/printk.ts';
import { findTimes } from '../../kernel/times.ts';
import { EXIT } from '../errors.ts';
import { openDumpFile } from '../open-dump.ts';
import type { Io } from '../output.ts';
import { defineVerb, flag } from '../verb.ts';

/** As `dmesg --level` calls them; the index is the level. */
const LEVEL_NAMES = ['emerg', 'alert', 'crit', 'err', 'warn', 'notice', 'info', 'debug'] as const;

export const verb = defineVerb({
  name: 'log',
  text: `Prints the kernel log in a dump, oldest line first, as crash's 'log' does.

It needs nothing but the dump: the log's place and shape stand in its VMCOREINFO note. Parts of the log that the dump
does not hold cost the records in them and no others; how many, is said on stderr, and the exit code is then 4.

-T counts back from the moment of the crash (CRASHTIME of the note, else the date in the dump's header) by the time
stamp of the last record, so dates are good to about a second where the kernel printed until it died.`,
  examples: [
    { command: 'log vmcore', brief: 'all of it' },
    { command: 'log vmcore -T -l err,crit,alert,emerg', brief: 'what went wrong, with dates' },
    { command: 'log vmcore --dmesg > vmcore-dmesg.txt', brief: 'byte for byte what vmcore-dmesg writes' },
  ],
  flags: {
    dates: flag.switch('dates (UTC) instead of seconds since boot', { alias: 'T' }),
    level: flag.list('only these levels: emerg alert crit err warn notice info debug, or 0 to 7', {
      alias: 'l',
      placeholder: 'LEVEL',
      values: LEVEL_NAMES,
    }),
    showLevel: flag.switch("the level before each text, as crash's 'log -m'", { alias: 'm' }),
    dmesg: flag.switch("the bytes of kexec-tools' vmcore-dmesg"),
  },
  positionals: [{ name: 'DUMP', brief: 'a dump file or a dump device' }],
  run(flags, [path = ''], io) {
    if (flags.dmesg && (io.json || flags.dates || flags.showLevel))
      throw new UsageError('USAGE_LOG', 'log: --dmesg has one form, it goes with neither --json nor -T nor -m');
    const levels = parseLevels(flags.level);
    const dump = openDumpFile(path);
    try {
      const kernel = openKernel(dump.vmcore);
      const bootTimeSeconds = flags.dates && !io.json ? getBootTime(kernel, dump.vmcore, io) : undefined;
      const end = walkRecords(kernel, (record) => {
        if (!levels.has(record.level)) return;
        if (io.json) io.document(logDocument(record));
        else if (flags.dmesg) io.write(formatVmcoreDmesg(record));
        else io.print(formatLogLine(record, { bootTimeSeconds, showLevel: flags.showLevel }));
      });
      return report(end, io);
    } finally {
      dump.close();
    }
  },
});

/** Hands every record to `see`, in order. */
function walkRecords(kernel: Kernel, see: (record: LogRecord) => void): LogEnd {
  const walk = kernel.walkLog();
  for (let step = walk.next(); ; step = walk.next()) {
    if (step.done) return step.value;
    see(step.value);
  }
}

function report(end: LogEnd, io: Io): number {
  if (end.unreadable === 0 && end.problems.length === 0) return EXIT.done;
  io.flush();
  io.warn(`log: ${end.unreadable} records could not be read, ${end.records} were`);
  for (const problem of end.problems) io.warn(`log: ${problem}`);
  return EXIT.partial;
}

function getBootTime(kernel: Kernel, vmcore: Vmcore, io: Io): number {
  let lastStampNs: bigint | undefined;
  walkRecords(kernel, (record) => {
    lastStampNs = record.tsNs;
  });
  const times = findTimes({
    vmcoreinfo: kernel.vmcoreinfo,
    headerSeconds: vmcore.header.timestampSeconds,
    lastStampNs,
  });
  if (times.bootTimeSeconds === undefined)
    throw new NoDataError(
      'LOG_DATES',
      'log -T: neither CRASHTIME of vmcoreinfo nor a date in the header says when this dump was taken',
      { file: vmcore.name },
      'without -T the log has seconds since boot',
    );
  const from = times.bootTimeFrom === 'CRASHTIME' ? 'CRASHTIME' : "the dump's date, for it has no CRASHTIME,";
  io.note(`boot at ${formatDate(times.bootTimeSeconds)}: ${from} less the last time stamp of the log`);
  return times.bootTimeSeconds;
}

function parseLevels(words: readonly string[]): ReadonlySet<number> {
  if (words.length === 0) return new Set(LEVEL_NAMES.keys());
  return new Set(
    words.map((word) => {
      const level = /^[0-7]$/.test(word) ? Number(word) : (LEVEL_NAMES as readonly string[]).indexOf(word);
      if (level >= 0) return level;
      throw new UsageError('USAGE_LEVEL', `'${word}' is no log level: ${LEVEL_NAMES.join(' ')}, or 0 to 7`, { word });
    }),
  );
}
