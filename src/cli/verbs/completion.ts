/** `diskdump completion SHELL`: a completion script, generated from the table of verbs. */

import { UsageError } from '../../base/errors.ts';
import { commonFlags, VERBS, type VerbEntries } from '../app.ts';
import { EXIT } from '../errors.ts';
import { kebab } from '../help.ts';
import { defineVerb, type Flag, type FlagTable, type Positional } from '../verb.ts';

export const verb = defineVerb({
  name: 'completion',
  text: 'Prints a script that completes verbs, flags and file names. It is generated from the table of verbs.',
  examples: [
    { command: 'completion bash > /etc/bash_completion.d/diskdump', brief: 'for every user of bash' },
    { command: 'completion zsh > /usr/local/share/zsh/site-functions/_diskdump', brief: 'for every user of zsh' },
    { command: 'completion fish > ~/.config/fish/completions/diskdump.fish', brief: 'for one user of fish' },
  ],
  flags: {},
  noJson: 'it prints a script',
  positionals: [{ name: 'SHELL', brief: 'bash, zsh or fish', words: ['bash', 'zsh', 'fish'] }],
  async run(_flags, [shell], io) {
    const make = SHELLS[shell!];
    if (make === undefined) {
      throw new UsageError('USAGE_SHELL', `no completion for '${shell}', only for ${Object.keys(SHELLS).join(', ')}`);
    }
    for (const line of make(await readWords(VERBS))) io.print(line);
    return EXIT.done;
  },
});

/** A verb as a completion script needs it. */
export interface VerbWords {
  readonly name: string;
  readonly brief: string;
  readonly flags: readonly FlagWords[];
  /** What stands after it besides flags: nothing, one of some words, or paths. */
  readonly takes: 'nothing' | 'paths' | readonly string[];
}

/** A flag: what may follow it is nothing, one of some words, a path, or something else. */
export interface FlagWords {
  readonly name: string;
  readonly brief: string;
  readonly value: 'none' | 'path' | 'other' | readonly string[];
}

/** Loads every verb for its flags. */
export async function readWords(entries: VerbEntries): Promise<VerbWords[]> {
  const words: VerbWords[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    const { verb: loaded } = await entry.load();
    const flags = flagWords({ ...loaded.flags, ...commonFlags(loaded) });
    words.push({ name, brief: entry.brief, flags, takes: positionalWords(loaded.positionals) });
  }
  return words;
}

function positionalWords([first]: readonly Positional[]): VerbWords['takes'] {
  return first === undefined ? 'nothing' : (first.words ?? 'paths');
}

function flagWords(flags: FlagTable): FlagWords[] {
  return [
    ...Object.entries(flags).map(([name, flag]) => ({
      name: `--${kebab(name)}`,
      brief: flag.brief,
      value: flagValue(flag),
    })),
    { name: '--help', brief: 'help with examples', value: 'none' },
  ];
}

/** Placeholders of flags whose value is a path. */
const PATHS = ['FILE', 'DIRECTORY', 'DIR', 'DEVICE'];

function flagValue({ kind, values, placeholder = '' }: Flag): FlagWords['value'] {
  if (kind === 'switch') return 'none';
  return values ?? (PATHS.includes(placeholder) ? 'path' : 'other');
}

const SHELLS: Readonly<Record<string, (verbs: readonly VerbWords[]) => string[]>> = {
  bash: formatBash,
  zsh: formatZsh,
  fish: formatFish,
};

/** Where the script offers nothing, bash completes paths itself (`-o default`) and knows how to quote them. */
function formatBash(verbs: readonly VerbWords[]): string[] {
  const offer = (words: readonly string[]): string =>
    `mapfile -t COMPREPLY < <(compgen -W ${quote(words.join(' '))} -- "$word")`;
  return [
    '# bash completion for diskdump',
    '_diskdump() {',
    `  local word=\${COMP_WORDS[COMP_CWORD]} verb=\${COMP_WORDS[1]} before=\${COMP_WORDS[COMP_CWORD-1]}`,
    '  COMPREPLY=()',
    '  # Readline takes the = of --flag=value for a word.',
    `  if [ "$word" = = ]; then word=; elif [ "$before" = = ]; then before=\${COMP_WORDS[COMP_CWORD-2]}; fi`,
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    ${offer(verbs.map(({ name }) => name))}`,
    '    return',
    '  fi',
    '  case "$verb $before" in',
    ...verbs.flatMap(({ name, flags }) =>
      flags.flatMap(({ name: flag, value }) =>
        typeof value === 'string' ? [] : [`    "${name} ${flag}") ${offer(value)}; return ;;`],
      ),
    ),
    '  esac',
    '  case "$verb $word" in',
    ...verbs.map(({ name, flags }) => `    "${name} -"*) ${offer(flags.map((flag) => flag.name))} ;;`),
    ...verbs.flatMap(({ name, takes }) => (typeof takes === 'string' ? [] : [`    "${name} "*) ${offer(takes)} ;;`])),
    `    "help "*) if [ "$COMP_CWORD" -eq 2 ]; then ${offer(verbs.map(({ name }) => name))}; fi ;;`,
    '  esac',
    '}',
    'complete -o default -F _diskdump diskdump',
  ];
}

function formatZsh(verbs: readonly VerbWords[]): string[] {
  return [
    '#compdef diskdump',
    '_diskdump() {',
    '  local -a verbs',
    `  verbs=(${verbs.map(({ name, brief }) => quote(`${name}:${zshText(brief)}`)).join(' ')})`,
    '  if (( CURRENT == 2 )) || [[ $CURRENT -eq 3 && "$words[2]" == help ]]; then',
    "    _describe 'verb' verbs",
    '    return',
    '  fi',
    '  case "$words[2]" in',
    ...verbs.map(({ name, flags, takes }) => {
      const specs = flags.map(({ name: flag, brief, value }) =>
        quote(`${flag}${value === 'none' ? '' : '='}[${zshText(brief).replace(/[[\]]/g, '')}]${zshValue(value)}`),
      );
      const rest =
        takes === 'nothing' ? [] : [takes === 'paths' ? "'*:file:_files'" : quote(`1:word:(${takes.join(' ')})`)];
      return `    ${name}) shift words; (( CURRENT-- )); _arguments ${[...specs, ...rest].join(' ')} ;;`;
    }),
    '  esac',
    '}',
    'if [ "$funcstack[1]" = "_diskdump" ]; then _diskdump "$@"; else compdef _diskdump diskdump; fi',
  ];
}

function zshValue(value: FlagWords['value']): string {
  if (typeof value !== 'string') return `:value:(${value.join(' ')})`;
  return { none: '', path: ':file:_files', other: ':value: ' }[value];
}

function formatFish(verbs: readonly VerbWords[]): string[] {
  const lines = [
    '# fish completion for diskdump',
    `complete -c diskdump -n '__fish_seen_subcommand_from help' -f -a ${quote(verbs.map(({ name }) => name).join(' '))}`,
  ];
  for (const { name, brief, flags, takes } of verbs) {
    const after = `complete -c diskdump -n '__fish_seen_subcommand_from ${name}'`;
    lines.push(`complete -c diskdump -n __fish_use_subcommand -f -a ${name} -d ${quote(brief)}`);
    if (takes !== 'paths') lines.push(`${after} -f${takes === 'nothing' ? '' : ` -a ${quote(takes.join(' '))}`}`);
    for (const { name: flag, brief: text, value } of flags)
      lines.push(`${after} -l ${flag.slice(2)} -d ${quote(text)}${fishValue(value)}`);
  }
  return lines;
}

function fishValue(value: FlagWords['value']): string {
  if (typeof value !== 'string') return ` -x -a ${quote(value.join(' '))}`;
  return { none: '', path: ' -r -F', other: ' -x' }[value];
}

function zshText(brief: string): string {
  return brief.replace(/:/g, '\\:');
}

function quote(word: string): string {
  return `'${word.replace(/'/g, `'\\''`)}'`;
}
