/** Help, computed from the data of the verbs. */

import type { VerbEntries, VerbEntry } from './app.ts';
import type { Io } from './output.ts';
import type { Flag, FlagTable, Positional, Verb, VerbGroup } from './verb.ts';

const GROUP_TITLES: Readonly<Record<VerbGroup, string>> = {
  look: 'look into a dump',
  convert: 'convert',
  protect: 'protect this machine',
  capture: 'capture',
  save: 'save',
  serve: 'serve',
  try: 'try',
};

/** `diskdump --help`. */
export function formatOverview(entries: VerbEntries, io: Io): string[] {
  const lines = [
    'diskdump: crash dumps for Linux, captured at panic, saved after the reboot, looked into',
    '',
    `${io.style('bold', 'usage')}: diskdump VERB [ARGUMENT…] [--FLAG…]`,
  ];
  const width = Math.max(...Object.entries(entries).map(([name, { usage }]) => `${name} ${usage}`.length));
  for (const group of Object.keys(GROUP_TITLES) as VerbGroup[]) {
    const members = Object.entries(entries).filter(([, entry]) => entry.group === group);
    if (members.length === 0) continue;
    lines.push('', io.style('bold', GROUP_TITLES[group]));
    for (const [name, { usage, brief }] of members) {
      lines.push(`  ${io.style('cyan', name)} ${usage.padEnd(width - name.length)} ${brief}`);
    }
  }
  return [
    ...lines,
    '',
    '`diskdump VERB --help` explains a verb with examples; every verb that answers has --json',
    'exit codes: 0 done, 1 the answer is no, 2 usage, 3 unreadable input, 4 partial, 5 device or network, 70 our bug, 130 interrupted',
  ];
}

/** `diskdump VERB --help`. */
export function formatVerbHelp(verb: Verb, entry: VerbEntry, common: FlagTable, io: Io): string[] {
  const required = Object.entries(verb.flags).filter(([, spec]) => spec.required);
  const usage = [
    'diskdump',
    verb.name,
    ...verb.positionals.map(formatPositional),
    ...required.map(([name, spec]) => `--${kebab(name)}${formatValue(spec)}`),
    '[--FLAG…]',
  ].join(' ');
  return [
    `${io.style('bold', 'usage')}: ${usage}`,
    '',
    entry.brief,
    ...section('', verb.text.trim() === '' ? [] : verb.text.trim().split('\n'), io),
    ...section('arguments', columns(verb.positionals.map(({ name, brief }) => [name, brief])), io),
    ...section('flags', columns([...flagRows(verb.flags), ...flagRows(common), ['-h, --help', 'this help']]), io),
    ...section(
      'examples',
      verb.examples.flatMap(({ command, brief }) => [`  ${io.style('cyan', `diskdump ${command}`)}`, `      ${brief}`]),
      io,
    ),
  ];
}

/** A flag's name as it is typed: `noMap` → `no-map`. */
export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function formatPositional({ name, count }: Positional): string {
  if (count === 'optional') return `[${name}]`;
  if (count === 'some') return `${name}…`;
  return count === 'many' ? `[${name}…]` : name;
}

function flagRows(flags: FlagTable): string[][] {
  return Object.entries(flags).map(([name, spec]) => {
    const alias = spec.alias === undefined ? '' : `-${spec.alias}, `;
    return [`${alias}--${kebab(name)}${formatValue(spec)}`, spec.brief];
  });
}

function formatValue(spec: Flag): string {
  if (spec.kind === 'switch') return '';
  if (spec.kind === 'choice') return ` ${(spec.values ?? []).join('|')}`;
  return ` ${spec.placeholder ?? 'VALUE'}${spec.kind === 'list' ? ',…' : ''}`;
}

function columns(rows: readonly (readonly string[])[]): string[] {
  const width = Math.min(LEFT_COLUMNS_MAX, Math.max(0, ...rows.map(([left]) => left!.length)));
  return rows.flatMap(([left, right]) =>
    left!.length > width ? [`  ${left}`, `  ${' '.repeat(width)}  ${right}`] : [`  ${left!.padEnd(width)}  ${right}`],
  );
}

const LEFT_COLUMNS_MAX = 34;

function section(title: string, lines: readonly string[], io: Io): string[] {
  if (lines.length === 0) return [];
  return title === '' ? ['', ...lines] : ['', io.style('bold', title), ...lines];
}
